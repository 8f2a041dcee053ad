//! tmp
use vfw_benches::cost::{Path, Way};
fn main() -> anyhow::Result<()> {
    let mut paths = Way::ALL.into_iter().map(|way| Path::new(way, 1)).collect::<anyhow::Result<Vec<_>>>()?;
    for flows in [1, 1000, 60_000, 240_000] {
        for path in &mut paths {
            let e = path.establish(flows)?;
            println!("{flows} {:?} established {e:?}", path.way);
        }
        for _ in 0..5 {
            for path in &mut paths {
                let s = path.measure(flows, 1_000_000)?;
                print!("{:?} {:.0} {:.2}%  ", path.way, s.nanos, s.lost * 100.0);
            }
            println!();
        }
    }
    Ok(())
}
