//! Plots of figures against counts with logarithmic axes: a flat cost is a level line, a proportional one rises a
//! decade per decade. One SVG with one panel per plot, readable on light and dark pages.

use std::fmt::Write;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 34.0;
const PANEL: f64 = 480.0;
const COLOURS: [&str; 4] = ["#3b82f6", "#f97316", "#22a55b", "#a855f7"];

/// One figure at several counts.
pub struct Series {
    name: String,
    points: Vec<(u64, f64)>,
}

impl Series {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            points: Vec::new(),
        }
    }

    pub fn add(&mut self, count: u64, figure: f64) {
        eprintln!("  {} at {count}: {figure:.3}", self.name);
        self.points.push((count, figure));
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn points(&self) -> &[(u64, f64)] {
        &self.points
    }

    /// The points with a count of at least `count`.
    pub fn from(&self, count: u64) -> Self {
        let points = self.points.iter().filter(|point| point.0 >= count);
        Self {
            name: self.name.clone(),
            points: points.copied().collect(),
        }
    }
}

/// Several figures against one count.
pub struct Panel {
    title: String,
    series: Vec<Series>,
}

impl Panel {
    pub fn new(title: &str, series: Vec<Series>) -> Self {
        Self {
            title: title.to_owned(),
            series,
        }
    }

    /// Range of decades that contains all counts, and the range for all figures.
    fn decades(&self) -> [(f64, f64); 2] {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let around = |values: Vec<f64>| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            (least.log10().floor(), most.log10().ceil())
        };
        [
            around(points().map(|point| point.0 as f64).collect()),
            around(points().map(|point| point.1).collect()),
        ]
    }

    fn draw(&self, out: &mut String, left: f64) {
        let [across, up] = self.decades();
        let scale = |value: f64, (low, high): (f64, f64)| (value.log10() - low) / (high - low);
        let x = |count: f64| left + LEFT + WIDTH * scale(count, across);
        let y = |figure: f64| TOP + HEIGHT * (1.0 - scale(figure, up));
        let (start, end, bottom) = (left + LEFT, left + LEFT + WIDTH, TOP + HEIGHT);
        let _ = writeln!(
            out,
            r#"<text x="{start}" y="20" class="t">{}</text>"#,
            self.title
        );
        for power in up.0 as i32..=up.1 as i32 {
            let (at, label) = (y(10f64.powi(power)), label(power));
            let _ = writeln!(
                out,
                r#"<path d="M{start} {at:.1}H{end}" class="g"/><text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
                start - 6.0,
                at + 4.0
            );
        }
        for power in across.0 as i32..=across.1 as i32 {
            let (at, label) = (x(10f64.powi(power)), label(power));
            let _ = writeln!(
                out,
                r#"<path d="M{at:.1} {TOP}V{bottom}" class="g"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
                bottom + 16.0
            );
        }
        for (at, (series, colour)) in self.series.iter().zip(COLOURS).enumerate() {
            let place = |&(count, figure): &(u64, f64)| (x(count as f64), y(figure));
            let places: Vec<(f64, f64)> = series.points.iter().map(place).collect();
            let line: Vec<String> = places
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let _ = writeln!(
                out,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                line.join(" ")
            );
            for (x, y) in places {
                let _ = writeln!(
                    out,
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
                );
            }
            let row = bottom + 38.0 + 16.0 * at as f64;
            let _ = writeln!(
                out,
                r#"<path d="M{start} {:.1}h18" stroke="{colour}" stroke-width="3"/><text x="{:.1}" y="{row:.1}">{}</text>"#,
                row - 4.0,
                start + 26.0,
                series.name
            );
        }
    }
}

/// Draws all panels side by side, under the machine's name.
pub fn svg(panels: &[Panel], machine: &str) -> String {
    let (width, height) = (PANEL * panels.len() as f64, TOP + HEIGHT + 124.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#888}}.t{{font-size:14px}}.g{{stroke:#888;stroke-opacity:.25}}</style>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        panel.draw(&mut out, PANEL * at as f64);
    }
    let _ = writeln!(
        out,
        r#"<text x="{LEFT}" y="{:.1}">{machine}</text>"#,
        height - 8.0
    );
    out.push_str("</svg>\n");
    out
}

fn label(power: i32) -> String {
    match power {
        0..=3 => 10u64.pow(power.unsigned_abs()).to_string(),
        4.. => format!("10<tspan dy=\"-5\" font-size=\"9\">{power}</tspan>"),
        _ => format!("{}", 10f64.powi(power)),
    }
}
