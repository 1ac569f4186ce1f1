//! The shortest tour: make an array, view it, and open the view from its handle as text.

use ndarray::{Ix1, s};
use ndshm::{Handle, Manager};

fn main() -> ndshm::Result<()> {
    let manager = Manager::new()?;
    let xs = manager.from_shape_fn::<f64, _>(1_000_000, |i| i as f64)?;
    let left = xs.slice(s![..500_000])?;
    let text = left.handle().to_string();
    println!("{text}");

    // In any other process of this user; here in the same process.
    let left = text.parse::<Handle>()?.open::<f64, Ix1>()?;
    println!("mean {:?}", left.read()?.mean());
    left.write()?.mapv_inplace(f64::sqrt);
    println!("the square root of 10000 is {}", xs.read()?[10_000]);
    Ok(())
}
