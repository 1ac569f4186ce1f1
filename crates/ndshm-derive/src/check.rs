//! Refusals of types that cannot be elements, as far as their source shows it.

use quote::ToTokens;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Fields, GenericParam, Ident, Result, Token, Type,
    TypeParamBound, WherePredicate, punctuated::Punctuated, spanned::Spanned,
};

type Bounds = Punctuated<TypeParamBound, Token![+]>;

/// A struct that may be an element.
pub(crate) struct Checked<'a> {
    pub(crate) fields: &'a Fields,
    /// Whether it implements `Pod` by other means.
    pub(crate) is_pod: bool,
}

pub(crate) fn check(input: &DeriveInput) -> Result<Checked<'_>> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            let message = "an enum cannot be an element: not every byte is one of its variants, \
                           and another process could write any; store an integer and convert it";
            return Err(Error::new(data.enum_token.span, message));
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union cannot be an element: use a struct, or an array of bytes",
            ));
        }
    };
    if fields.is_empty() {
        return Err(Error::new(
            input.ident.span(),
            "a struct without fields cannot be an element: it has no bytes to share",
        ));
    }
    let is_aligned = check_repr(input)?;
    for field in fields {
        check_type(&field.ty)?;
    }
    check_generics(input, fields, is_aligned)?;
    Ok(Checked {
        fields,
        is_pod: is_pod(&input.attrs)?,
    })
}

/// Whether the struct asks for an alignment of its own.
fn check_repr(input: &DeriveInput) -> Result<bool> {
    let (mut is_c, mut is_aligned) = (false, false);
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("repr"))
    {
        attribute.parse_nested_meta(|meta| {
            is_c |= meta.path.is_ident("C");
            is_aligned |= meta.path.is_ident("align");
            if meta.path.is_ident("packed") {
                let message = "a packed struct cannot be an element: its fields are not aligned, \
                               so there are no views of them; remove `packed` and order the \
                               fields so that there is no padding";
                return Err(meta.error(message));
            }
            if meta.input.peek(syn::token::Paren) {
                let content;
                syn::parenthesized!(content in meta.input);
                content.parse::<Expr>()?;
            }
            Ok(())
        })?;
    }
    let message =
        "the layout of an element must be fixed, in all programs that share it: add #[repr(C)]";
    if is_c {
        Ok(is_aligned)
    } else {
        Err(Error::new(input.ident.span(), message))
    }
}

/// Types that are refused by name, because the compiler's own message would not help.
fn check_type(ty: &Type) -> Result<()> {
    let message = match ty {
        Type::Array(array) => return check_type(&array.elem),
        Type::Paren(inner) => return check_type(&inner.elem),
        Type::Group(inner) => return check_type(&inner.elem),
        Type::Reference(_) | Type::Ptr(_) | Type::BareFn(_) => {
            "an address means nothing in another process: store an index or an offset"
        }
        Type::Tuple(_) => {
            "the layout of a tuple is not fixed: use a struct with #[repr(C)] that derives \
             Element, too"
        }
        Type::Path(path) if path.path.is_ident("bool") => {
            "another process could write a byte that is no bool: use ndshm::Bool"
        }
        Type::Path(path) if path.path.is_ident("char") => {
            "another process could write a number that is no char: use u32, or bytes of UTF-8"
        }
        Type::Path(path) if path.path.is_ident("usize") || path.path.is_ident("isize") => {
            "its size depends on the machine, and the file's readers may be on another one: \
             use u64 or i64"
        }
        Type::Path(path)
            if path.path.segments.last().is_some_and(|last| {
                ["String", "Vec", "Box", "Option"]
                    .iter()
                    .any(|name| last.ident == name)
            }) =>
        {
            "it holds an address or is not plain bytes: elements are numbers, [T; N] and structs \
             of them"
        }
        _ => return Ok(()),
    };
    Err(Error::new(ty.span(), message))
}

/// A generic struct must be without padding whatever its parameters are: that is so where all its
/// fields are made of one type.
fn check_generics(input: &DeriveInput, fields: &Fields, is_aligned: bool) -> Result<()> {
    if input.generics.params.is_empty() {
        return Ok(());
    }
    if is_aligned {
        let message = "a generic element cannot have an alignment of its own, because it could \
                       have padding at its end: remove `align`";
        return Err(Error::new(input.ident.span(), message));
    }
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) => {
                return Err(Error::new(
                    lifetime.span(),
                    "an element borrows nothing: remove the lifetime",
                ));
            }
            GenericParam::Type(ty) => {
                let predicates = input
                    .generics
                    .where_clause
                    .iter()
                    .flat_map(|clause| &clause.predicates);
                let in_where = predicates.filter_map(|predicate| bounds_of(predicate, &ty.ident));
                if !ty.bounds.iter().chain(in_where.flatten()).any(is_element) {
                    return Err(Error::new(
                        ty.span(),
                        format!(
                            "not every type can be an element: write `{}: ndshm::Element`",
                            ty.ident
                        ),
                    ));
                }
            }
            GenericParam::Const(_) => {}
        }
    }
    let first = fields
        .iter()
        .next()
        .map(|field| base(&field.ty).to_token_stream().to_string());
    let is_other = |ty: &&Type| {
        !matches!(ty, Type::Path(_)) || Some(ty.to_token_stream().to_string()) != first
    };
    match fields.iter().map(|field| base(&field.ty)).find(is_other) {
        None => Ok(()),
        Some(other) => {
            let message = "a generic element has fields of one type and arrays of it only, because \
                           others could have padding between them: write a struct for each case";
            Err(Error::new(other.span(), message))
        }
    }
}

/// The bounds that a predicate of a `where` clause puts on this parameter.
fn bounds_of<'a>(predicate: &'a WherePredicate, parameter: &Ident) -> Option<&'a Bounds> {
    let WherePredicate::Type(bound) = predicate else {
        return None;
    };
    match &bound.bounded_ty {
        Type::Path(path) if path.path.is_ident(parameter) => Some(&bound.bounds),
        _ => None,
    }
}

fn is_element(bound: &TypeParamBound) -> bool {
    let TypeParamBound::Trait(bound) = bound else {
        return false;
    };
    bound
        .path
        .segments
        .last()
        .is_some_and(|last| last.ident == "Element")
}

/// The innermost element type of nested arrays.
fn base(ty: &Type) -> &Type {
    match ty {
        Type::Array(array) => base(&array.elem),
        Type::Paren(inner) => base(&inner.elem),
        Type::Group(inner) => base(&inner.elem),
        _ => ty,
    }
}

/// Whether `#[element(pod)]` says that the struct is Pod already.
fn is_pod(attributes: &[Attribute]) -> Result<bool> {
    let mut is_pod = false;
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("element"))
    {
        attribute.parse_nested_meta(|meta| match meta.path.is_ident("pod") {
            true => {
                is_pod = true;
                Ok(())
            }
            false => Err(meta.error(
                "the only setting is `pod`: the struct implements bytemuck::Pod by other means",
            )),
        })?;
    }
    Ok(is_pod)
}
