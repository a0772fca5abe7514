//! The graph of `after`: circles, dependents, and the order of stops, also from seeds.

use super::*;

fn id(name: &str) -> PluginId {
    name.parse().unwrap()
}

fn ids(names: &[&str]) -> Vec<PluginId> {
    names.iter().map(|name| id(name)).collect()
}

fn order(plugins: &[(&str, &[&str])]) -> Order {
    let mut order = Order::default();
    for (number, (name, after)) in (0..).zip(plugins) {
        order.set(&id(name), PluginKey(number), &ids(after));
    }
    order
}

#[test]
fn a_circle_is_found_with_all_its_sides() {
    let order = order(&[("a", &[]), ("b", &["a"]), ("c", &["x", "b"])]);
    assert_eq!(order.circle(&id("d"), &ids(&["c", "b"])), None);
    let circle = order.circle(&id("a"), &ids(&["x", "c"])).unwrap();
    assert_eq!(circle_text(&circle), "a after c after b after a");
    assert_eq!(order.circle(&id("a"), &ids(&["a"])), Some(ids(&["a", "a"])), "itself");
    assert_eq!(
        order.circle(&id("x"), &ids(&["c"])),
        Some(ids(&["x", "c", "x"])),
        "one that is not there yet"
    );
}

#[test]
fn who_is_awaited_is_not_there_down_or_about_to_stop() {
    let mut order = order(&[("a", &[]), ("b", &[])]);
    order.note_state(&id("a"), PluginState::Healthy);
    order.note_state(&id("b"), PluginState::Degraded);
    assert!(order.awaited(&ids(&["a", "b"])).is_empty());
    order.note_state(&id("b"), PluginState::Unhealthy);
    order.depart(&id("a"));
    let awaited = order.awaited(&ids(&["a", "b", "c"]));
    let states = [Some(PluginState::Healthy), Some(PluginState::Unhealthy), None];
    assert_eq!(awaited, ids(&["a", "b", "c"]).into_iter().zip(states).collect::<Vec<_>>());
}

#[test]
fn dependents_that_run_are_named_and_long_lists_are_cut() {
    let names: Vec<String> = (0..20).map(|number| format!("p{number:02}")).collect();
    let mut order = order(&[("a", &[])]);
    for (number, name) in (1..).zip(&names) {
        order.set(&id(name), PluginKey(number), &ids(&["a"]));
    }
    assert_eq!(order.dependents_text(&id("a")), None);
    order.note_state(&id("p03"), PluginState::Waiting);
    assert_eq!((order.dependents_text(&id("a")), order.is_needed(&id("a"))), (None, true));
    names.iter().for_each(|name| order.note_state(&id(name), PluginState::Starting));
    let text = order.dependents_text(&id("a")).unwrap();
    assert!(text.starts_with("p00, p01, ") && text.ends_with("p15, and 4 more"), "{text}");
}

/// In whatever graph: starts come in order; stops come in the other one; the time for all is that of the longest way.
#[test]
fn random_graphs_start_and_stop_in_order() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(1..12);
        let mut numbers: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut numbers);
        let name = |number: usize| id(&format!("p{}", numbers[number]));
        let mut order = Order::default();
        let mut after: BTreeMap<PluginId, Vec<PluginId>> = BTreeMap::new();
        for number in 0..count {
            let firsts: Vec<PluginId> = (0..number).filter(|_| rng.u8(0..3) == 0).map(name).collect();
            assert_eq!(order.circle(&name(number), &firsts), None, "seed {seed}");
            order.set(&name(number), PluginKey(u32::try_from(number).unwrap()), &firsts);
            after.insert(name(number), firsts);
        }
        let starts: Vec<PluginId> = order.starts().into_iter().cloned().collect();
        assert_eq!(starts.len(), count, "seed {seed}");
        let at = |id: &PluginId| starts.iter().position(|other| other == id).unwrap();
        for (id, firsts) in &after {
            assert!(firsts.iter().all(|first| at(first) < at(id)), "seed {seed}: {starts:?}");
            // Turning any edge around closes a circle, which goes along edges.
            for first in firsts {
                let circle = order.circle(first, std::slice::from_ref(id)).unwrap();
                assert_eq!((circle.first(), circle.last()), (Some(first), Some(first)), "seed {seed}");
                let edges = circle.windows(2).skip(1);
                edges.for_each(|edge| assert!(after[&edge[0]].contains(&edge[1]), "seed {seed}"));
            }
            assert!(firsts.iter().all(|first| order.with_dependents(first).contains(id)), "seed {seed}");
        }
        starts.iter().for_each(|id| order.note_state(id, PluginState::Healthy));
        order.take_changed();
        starts.iter().for_each(|id| order.depart(id));
        let mut stopping: Vec<PluginId> = Vec::new();
        let mut down: Vec<PluginId> = Vec::new();
        while down.len() < count {
            while let Some(key) = order.next_departure() {
                let id = starts.iter().find(|id| order.key(id) == Some(key)).unwrap().clone();
                let dependents = after.iter().filter(|(_, firsts)| firsts.contains(&id));
                dependents
                    .for_each(|(other, _)| assert!(down.contains(other), "seed {seed}: {id} before {other}"));
                order.note_state(&id, PluginState::Stopping);
                stopping.push(id);
            }
            assert!(!stopping.is_empty(), "seed {seed}: nobody is next");
            let id = stopping.swap_remove(rng.usize(0..stopping.len()));
            order.note_state(&id, PluginState::Stopped);
            order.take_changed();
            down.push(id);
        }
        let second = Duration::from_secs(1);
        let all = order.stop_timeout(|_| second);
        let mut longest: BTreeMap<&PluginId, u32> = BTreeMap::new();
        for id in &starts {
            let before = after[id].iter().map(|first| longest[first]).max().unwrap_or(0);
            longest.insert(id, before + 1);
        }
        assert_eq!(all, second * *longest.values().max().unwrap(), "seed {seed}");
    }
}
