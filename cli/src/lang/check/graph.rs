//! Things that contain each other, without recursion: a chain may be as long as the file.

use crate::lang::ast::Name;
use crate::lang::diagnostic::Sink;
use crate::lang::source::Spanned;

/// Resolves everything after what it contains. What contains itself is reported; it and what it is in are resolved last,
/// only for their other errors, and stay empty. `contains[i]` lists what `i` contains.
pub(super) fn expand<T: Clone + Default>(
    kind: &str,
    names: &[&Name],
    contains: &[Vec<usize>],
    sink: &mut Sink<'_>,
    mut resolve: impl FnMut(usize, &[T], &mut Sink<'_>) -> T,
) -> Vec<T> {
    let (order, knots) = order(contains);
    for knot in knots {
        let mut way = knot.iter().filter_map(|&i| names.get(i).copied());
        let Some(Spanned { value, span }) = way.next() else {
            continue;
        };
        let mut error = sink.error(*span, format!("{kind} `{value}` contains itself"));
        for name in way.take(8) {
            error = error.with_related(sink.at(name.span), format!("by way of this {kind}"));
        }
        sink.push(error);
    }
    let mut expanded = vec![T::default(); names.len()];
    let mut stuck = vec![true; names.len()];
    for i in order {
        let value = resolve(i, &expanded, sink);
        if let (Some(slot), Some(stuck)) = (expanded.get_mut(i), stuck.get_mut(i)) {
            (*slot, *stuck) = (value, false);
        }
    }
    for (i, _) in stuck.iter().enumerate().filter(|(_, stuck)| **stuck) {
        resolve(i, &expanded, sink);
    }
    expanded
}

/// Indices such that what is contained comes before what contains it, and one example of each knot that has no such
/// order. `contains[i]` lists what `i` contains.
fn order(contains: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut missing: Vec<usize> = contains.iter().map(Vec::len).collect();
    let mut within: Vec<Vec<usize>> = vec![Vec::new(); contains.len()];
    for (outer, inner) in contains.iter().enumerate() {
        for &inner in inner {
            if let Some(list) = within.get_mut(inner) {
                list.push(outer);
            }
        }
    }
    let mut order: Vec<usize> = (0..contains.len()).filter(|&i| missing.get(i) == Some(&0)).collect();
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
            at = contains.get(here).and_then(|inner| inner.iter().copied().find(|&i| stuck(i)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_first() {
        assert_eq!(order(&[vec![1, 2], vec![2], vec![]]), (vec![2, 1, 0], vec![]));
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
        let chain: Vec<Vec<usize>> = (0..count).map(|i| if i + 1 < count { vec![i + 1] } else { vec![] }).collect();
        assert_eq!(order(&chain).0.len(), count);
    }
}
