//! `deploy/grafana/dashboards/skyweir.json`, made of the panels.

use serde_json::{Value, json};

use super::panel::{COLUMNS, Panel};

/// Where it is, in the workspace.
pub(super) const FILE: &str = "deploy/grafana/dashboards/skyweir.json";

/// The file's text.
pub(super) fn text(panels: &[Panel]) -> String {
    let mut text = format!("{:#}", document(panels));
    text.push('\n');
    text
}

fn document(panels: &[Panel]) -> Value {
    let placed = panels.iter().zip(places(panels)).enumerate();
    let placed: Vec<Value> = placed.map(|(n, (panel, place))| panel.json(n + 1, place)).collect();
    json!({
        "uid": "skyweir",
        "title": "Skyweir: is it behind, where, and since when",
        "description": "Made by `cargo xtask dashboard --write`.",
        "tags": ["skyweir"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            {
                "name": "instance", "label": "Instance", "type": "query", "refresh": 2, "sort": 1,
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "query": "label_values(up{job=\"skyweir\"}, instance)",
                "multi": true, "includeAll": true, "current": {"text": ["All"], "value": ["$__all"]},
            },
        ]},
        "panels": placed,
    })
}

/// Where each panel stands: side by side as long as there is room, else below all before.
fn places(panels: &[Panel]) -> Vec<(u32, u32)> {
    let (mut x, mut y, mut depth) = (0, 0, 0);
    let mut places = Vec::new();
    for (width, height) in panels.iter().map(Panel::size) {
        if x + width > COLUMNS {
            (x, y, depth) = (0, y + depth, 0);
        }
        places.push((x, y));
        x += width;
        depth = depth.max(height);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::panel::Look;
    use super::super::panels::panels;
    use super::*;

    #[test]
    fn the_dashboard_is_up_to_date() {
        let found = std::fs::read_to_string(crate::run::root().join(FILE)).unwrap_or_default();
        assert!(found == text(&panels()), "{FILE} is not up to date: run `cargo xtask dashboard --write`");
    }

    #[test]
    fn panels_stand_side_by_side() {
        let panels = panels();
        let mut taken = BTreeSet::new();
        for (panel, (x, y)) in panels.iter().zip(places(&panels)) {
            let (w, h) = panel.size();
            assert!(x + w <= COLUMNS, "{}", panel.title);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{} covers another", panel.title);
            }
        }
    }

    #[test]
    fn every_panel_says_what_it_shows_and_what_is_normal() {
        let mut titles = BTreeSet::new();
        for panel in panels() {
            let Panel { title, about, look, unit, queries, .. } = &panel;
            if matches!(look, Look::Text | Look::Row) {
                continue;
            }
            assert!(titles.insert((*look == Look::Tile, *title)), "{title} is there twice");
            assert!(!unit.is_empty() && !queries.is_empty(), "{title}");
            assert!(about.contains("Normal: "), "{title} doesn't say what is normal");
            assert!(queries.iter().all(|query| !query.legend.is_empty()), "{title} has no legend");
            assert!(
                queries.iter().all(|query| query.expr.contains("instance=~")),
                "{title}: which instance?"
            );
        }
    }
}
