//! Histograms of error over bound, one for each operator.

use maud::{Markup, html};
use mxhal_core::OpKind;

use super::Section;
use crate::report::{Report, State};

/// Of the bound; the last bin holds what is at it.
const BINS: usize = 20;
const WIDTH: usize = 300;
const HEIGHT: usize = 96;

/// The histograms; absent where nothing was measured against a bound.
pub(super) fn section(report: &Report) -> Option<Section> {
    let mut figures = Vec::new();
    for op in OpKind::ALL.iter().map(|op| op.name()).chain(["layer"]) {
        let errors: Vec<f64> = report
            .cases
            .iter()
            .filter(|case| case.name.split('/').nth(1) == Some(op))
            .filter_map(|case| match &case.state {
                State::Pass(measures) => measures.error_over_bound,
                _ => None,
            })
            .collect();
        if !errors.is_empty() {
            figures.push(figure(op, &errors));
        }
    }
    if figures.is_empty() {
        return None;
    }
    let content = html! {
        p {
            "Of each case that passed and has a computed bound, the worst element’s error over that bound: 0 is the "
            "oracle’s value, 1 is as far as one may be. Cases that are wrong are listed below."
        }
        div.figures-of-error { @for figure in figures { (figure) } }
    };
    Section::new("errors", "Error over bound", content)
}

fn figure(op: &str, errors: &[f64]) -> Markup {
    let mut bins = [0_usize; BINS];
    for error in errors {
        // What is no number is nowhere near, and what is over the bound is not here.
        let bin = if error.is_finite() { (error * BINS as f64) as usize } else { BINS - 1 };
        bins[bin.min(BINS - 1)] += 1;
    }
    let most = bins.iter().copied().max().unwrap_or(0).max(1);
    let worst = errors.iter().copied().fold(0.0, f64::max);
    let step = WIDTH / BINS;
    let label = format!("{op}: {} cases, the worst at {worst:.3} of its bound", errors.len());
    html! {
        figure {
            figcaption { strong { (op) } " " span.muted { (errors.len()) " cases, worst " (format!("{worst:.3}")) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + 36) } role="img" aria-label=(label) {
                text.axis x="0" y="10" { (most) " cases" }
                @for (bin, count) in bins.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                    // At least a line: one case among hundreds is to be seen.
                    @let height = (count * HEIGHT).div_ceil(most).max(2);
                    rect.bar x=(bin * step + 1) y=(16 + HEIGHT - height) width=(step - 2) height=(height) rx="1" {
                        title {
                            (format!("{:.2}", bin as f64 / BINS as f64)) " to "
                            (format!("{:.2}", (bin + 1) as f64 / BINS as f64)) ": " (count) " cases"
                        }
                    }
                }
                line.axis x1="0" y1=(HEIGHT + 16) x2=(WIDTH) y2=(HEIGHT + 16) {}
                text.axis x="0" y=(HEIGHT + 31) { "0" }
                text.axis x=(WIDTH / 2) y=(HEIGHT + 31) text-anchor="middle" { "0.5" }
                text.axis x=(WIDTH) y=(HEIGHT + 31) text-anchor="end" { "1" }
            }
        }
    }
}
