//! The graph's answers are those of networkx, and hold on random graphs.

use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use synod_workflow::graph::{Cycle, Graph};

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn is_cycle(graph: &Graph, Cycle(path): &Cycle) -> bool {
    !path.is_empty()
        && path.iter().collect::<BTreeSet<_>>().len() == path.len()
        && (0..path.len()).all(|i| graph.after(path[i]).contains(&path[(i + 1) % path.len()]))
}

#[test]
fn answers_as_networkx_does() {
    let file: Value = serde_json::from_str(include_str!("../vectors/dag.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let name = &case["name"];
        let n = case["n"].as_u64().unwrap() as usize;
        let edges: Vec<Vec<usize>> = case["edges"].as_array().unwrap().iter().map(numbers).collect();
        let graph = Graph::new(n, edges.iter().map(|edge| (edge[0], edge[1])));
        if case["is_dag"] == false {
            assert!(is_cycle(&graph, &graph.topological_order().unwrap_err()), "{name}");
            assert!(graph.cycles().iter().all(|cycle| is_cycle(&graph, cycle)), "{name}");
            assert_eq!(graph.nodes_on_cycles(), numbers(&case["nodes_on_cycles"]), "{name}");
            assert_eq!(graph.nodes_never_ready(), numbers(&case["nodes_never_ready"]), "{name}");
            continue;
        }
        let generations: Vec<_> = case["generations"].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(graph.parallel_groups().unwrap(), generations, "{name}");
        assert_eq!(graph.topological_order().unwrap(), numbers(&case["one_topological_order"]), "{name}");
        for (node, ancestors) in case["ancestors"].as_array().unwrap().iter().enumerate() {
            assert_eq!(graph.ancestors(node).into_iter().collect::<Vec<_>>(), numbers(ancestors), "{name}");
        }
        let weight =
            |a, b| edges.iter().filter(|e| (e[0], e[1]) == (a, b)).map(|e| e[2] as u64).max().unwrap();
        assert_eq!(graph.longest(|_| 0, weight).unwrap().weight, case["longest_path_edge_weight"], "{name}");
        assert_eq!(graph.longest(|_| 0, |_, _| 1).unwrap().weight, case["longest_path_hops"], "{name}");
        let duration = numbers(&case["node_duration"]);
        let critical = graph.critical_path(|node| duration[node] as u64).unwrap();
        assert_eq!(critical.weight, case["critical_path_duration"], "{name}");
        assert_eq!(
            critical.weight,
            critical.path.iter().map(|node| duration[*node] as u64).sum::<u64>(),
            "{name}"
        );
        assert!(critical.path.windows(2).all(|step| graph.after(step[0]).contains(&step[1])), "{name}");
        let finish = graph.earliest_finish(|node| duration[node] as u64).unwrap();
        assert_eq!(
            finish.iter().map(|t| *t as usize).collect::<Vec<_>>(),
            numbers(&case["earliest_finish"]),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_order_is_an_order_or_there_is_a_cycle(n in 1usize..40, edges in prop::collection::vec((0usize..40, 0usize..40), 0..80)) {
        let graph = Graph::new(n, edges);
        match graph.topological_order() {
            Ok(order) => {
                let at: Vec<usize> = (0..n).map(|node| order.iter().position(|x| *x == node).unwrap()).collect();
                prop_assert!((0..n).all(|a| graph.after(a).iter().all(|b| at[a] < at[*b])));
                prop_assert!(graph.cycles().is_empty());
                prop_assert!(graph.nodes_never_ready().is_empty());
                let groups = graph.parallel_groups().unwrap();
                prop_assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), n);
            }
            Err(cycle) => {
                prop_assert!(is_cycle(&graph, &cycle));
                // Kahn's release: what it cannot release is what is said never to be ready.
                let mut done = BTreeSet::new();
                while let Some(next) = (0..n).find(|x| !done.contains(x) && graph.before(*x).iter().all(|b| done.contains(b))) {
                    done.insert(next);
                }
                let never: Vec<usize> = (0..n).filter(|x| !done.contains(x)).collect();
                prop_assert_eq!(graph.nodes_never_ready(), never);
            }
        }
    }
}

#[test]
fn a_long_chain_costs_no_stack() {
    let n = 300_000;
    let graph = Graph::new(n, (1..n).map(|i| (i - 1, i)).chain([(n - 1, 0)]));
    assert_eq!(graph.topological_order().unwrap_err().0.len(), n);
}
