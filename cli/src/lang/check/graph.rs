//! Order of things that contain each other.

/// Indices such that what is contained comes before what contains it, and one example of each knot that has no such
/// order. `contains[i]` lists what `i` contains.
pub(super) fn order(contains: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut missing: Vec<usize> = contains.iter().map(Vec::len).collect();
    let mut within: Vec<Vec<usize>> = vec![Vec::new(); contains.len()];
    for (outer, inner) in contains.iter().enumerate() {
        for &inner in inner {
            if let Some(list) = within.get_mut(inner) {
                list.push(outer);
            }
        }
    }
    let mut order: Vec<usize> = (0..contains.len())
        .filter(|&i| missing.get(i) == Some(&0))
        .collect();
    let mut done = 0;
    while let Some(&inner) = order.get(done) {
        done += 1;
        for &outer in within.get(inner).map_or(&[][..], Vec::as_slice) {
            if let Some(count) = missing.get_mut(outer) {
                *count -= 1;
                if *count == 0 {
                    order.push(outer);
                }
            }
        }
    }
    (order, cycles(contains, &missing))
}

/// Walks from each index that was never free until the way closes.
fn cycles(contains: &[Vec<usize>], missing: &[usize]) -> Vec<Vec<usize>> {
    let stuck = |i: usize| missing.get(i).is_some_and(|&count| count > 0);
    let mut seen = vec![0; contains.len()];
    let mut found = Vec::new();
    for start in (0..contains.len()).filter(|&i| stuck(i)) {
        let walk = start + 1;
        let mut path = Vec::new();
        let mut at = Some(start);
        while let Some(here) = at {
            match seen.get_mut(here) {
                Some(mark) if *mark == 0 => *mark = walk,
                Some(mark) if *mark == walk => {
                    let from = path.iter().position(|&i| i == here).unwrap_or(0);
                    found.push(path.split_off(from));
                    break;
                }
                _ => break,
            }
            path.push(here);
            at = contains
                .get(here)
                .and_then(|inner| inner.iter().copied().find(|&i| stuck(i)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_first() {
        assert_eq!(
            order(&[vec![1, 2], vec![2], vec![]]),
            (vec![2, 1, 0], vec![])
        );
        assert_eq!(order(&[vec![1, 1], vec![]]).0, vec![1, 0]);
    }

    #[test]
    fn each_knot_is_named_once() {
        let (free, knots) = order(&[vec![1], vec![0], vec![0], vec![3], vec![]]);
        assert_eq!((free, knots), (vec![4], vec![vec![0, 1], vec![3]]));
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let count = 200_000;
        let chain: Vec<Vec<usize>> = (0..count)
            .map(|i| if i + 1 < count { vec![i + 1] } else { vec![] })
            .collect();
        assert_eq!(order(&chain).0.len(), count);
    }
}
