"""The interfaces of other packages over this one, for code bases that were written for them."""
