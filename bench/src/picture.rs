//! A picture of `results.json`: two bars for each bench, and a mark where the bar to be kept is.

use std::fmt::Write;

use crate::report::Outcome;

const ROW: u32 = 60;
const LEFT: u32 = 250;
const WIDTH: u32 = 900;
const KEPT: &str = "#1a7f64";
const MISSED: &str = "#b35900";
const BASE: &str = "#8c959f";
const BAR: &str = "#cf222e";
/// Where a bar as long as the longest ends.
const RIGHT: u32 = 720;
/// Beside the bars, so that no mark crosses a figure.
const VALUES: u32 = 736;

/// An SVG that is legible on light and on dark ground.
#[must_use]
pub fn svg(outcomes: &[Outcome]) -> String {
    let height = 76 + ROW * u32::try_from(outcomes.len()).unwrap_or(0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" fill=\"#1b1f24\">Signet beside its peers: time or memory for the same work; \
         shorter is better</text>\n\
         <text x=\"16\" y=\"48\" fill=\"#57606a\"><tspan fill=\"{KEPT}\">■</tspan> Signet, bar kept \u{2003}\
         <tspan fill=\"{MISSED}\">■</tspan> Signet, bar not kept \u{2003}<tspan fill=\"{BASE}\">■</tspan> what it is \
         compared with \u{2003}<tspan fill=\"{BAR}\">┃</tspan> the bar</text>\n"
    );
    for (row, outcome) in (0..).zip(outcomes) {
        // Writing to a `String` does not fail.
        let _ = out.write_str(&pair(outcome, 68 + ROW * row));
    }
    out.push_str("</svg>\n");
    out
}

fn pair(outcome: &Outcome, top: u32) -> String {
    // The longer bar, or the mark, reaches to the right end.
    let most = outcome.ratio.max(outcome.bar).max(1.0);
    let at = |share: f64| f64::from(LEFT) + f64::from(RIGHT - LEFT) * share / most;
    let ours = if outcome.held { KEPT } else { MISSED };
    let bar = |y: u32, share: f64, fill: &str, value: f64| {
        let (end, text) = (at(share), shown(value, &outcome.unit));
        format!(
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"14\" fill=\"{fill}\"/>\n\
             <text x=\"{VALUES}\" y=\"{}\" fill=\"#1b1f24\">{text}</text>\n",
            end - f64::from(LEFT),
            y + 12
        )
    };
    let mark = at(outcome.bar);
    let about = escaped(&outcome.about);
    let held = if outcome.held { "kept" } else { "not kept" };
    format!(
        "<g><text x=\"16\" y=\"{}\" fill=\"#1b1f24\">{}</text>\n\
         <text x=\"16\" y=\"{}\" font-size=\"11\" fill=\"#57606a\">ratio {:.2}, bar {:.2} {held}</text>\n\
         {}{}<text x=\"{LEFT}\" y=\"{}\" font-size=\"10\" fill=\"#57606a\">{about}</text>\n\
         <line x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"{BAR}\" stroke-width=\"2\"/></g>\n",
        top + 13,
        escaped(&outcome.name),
        top + 29,
        outcome.ratio,
        outcome.bar,
        bar(top, outcome.ratio, ours, outcome.ours),
        bar(top + 17, 1.0, BASE, outcome.base),
        top + 44,
        top + 33,
    )
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "MiB" => format!("{value:.1} MiB"),
        _ if value < 1e-3 => format!("{:.0} µs", value * 1e6),
        _ => format!("{:.2} ms", value * 1e3),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_two_bars_and_a_mark() {
        let outcome = |name: &str, ratio, unit: &str| Outcome {
            name: name.into(),
            ratio,
            bar: 1.3,
            held: ratio <= 1.3,
            about: "this & that".into(),
            base: 0.002,
            ours: 0.002 * ratio,
            unit: unit.into(),
        };
        let text = svg(&[outcome("first", 0.5, "s"), outcome("second", 4.0, "MiB")]);
        assert_eq!(text.matches("<rect ").count(), 5);
        assert_eq!(text.matches("<line ").count(), 2);
        assert!(
            text.contains("this &amp; that")
                && text.contains("1.00 ms")
                && text.contains("not kept")
        );
        // Nothing is drawn outside.
        for end in text.split("x2=\"").skip(1) {
            let end: f64 = end.split('"').next().unwrap_or_default().parse().unwrap_or(f64::MAX);
            assert!(end <= f64::from(RIGHT));
        }
    }
}
