//! The roofline: what each case reaches, over how much it computes with a byte, under what the machine can do.
//!
//! One SVG file that needs no other, with a panel for each number of threads.

use std::fmt::Write;

use super::report::{CaseReport, Report, RunReport};

/// A panel's plot, in pixels, and the room around it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 56.0;
const RIGHT: f64 = 150.0;
const BOTTOM: f64 = 56.0;

/// Colours that differ for all eyes (Okabe and Ito), and what is drawn where they run out.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// A report's products and layers. Cases without operations, and those that were refused, are not in it.
pub(crate) fn svg(report: &Report) -> String {
    let panels: Vec<Panel<'_>> = report.runs.iter().filter_map(Panel::of).collect();
    let (width, each) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    let height = each * panels.len().max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Roofline of {}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(&report.backend.name)
    );
    if panels.is_empty() {
        svg.push_str("<text x=\"20\" y=\"40\">No case with operations and a ceiling was measured.</text>\n");
    }
    for (place, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate({LEFT} {})\">", TOP + each * place as f64);
        panel.draw(&report.backend.name, &mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// The plot of a run.
struct Panel<'a> {
    run: &'a RunReport,
    points: Vec<Point<'a>>,
    x: Axis,
    y: Axis,
}

struct Point<'a> {
    case: &'a CaseReport,
    /// Operations for a byte, and operations a second.
    intensity: f64,
    rate: f64,
}

impl<'a> Panel<'a> {
    fn of(run: &'a RunReport) -> Option<Self> {
        let points: Vec<Point<'a>> = run
            .cases
            .iter()
            .filter(|case| case.flops > 0.0 && case.scheme.is_some())
            .filter_map(|case| {
                let rate = case.flops / case.seconds?.median;
                Some(Point { case, intensity: case.flops / case.bytes, rate })
            })
            .collect();
        if points.is_empty() {
            return None;
        }
        let peaks = run.ceilings.iter().filter(|ceiling| is_compute(&ceiling.name)).map(|c| c.rate.median);
        let x = Axis::around(points.iter().map(|point| point.intensity), WIDTH);
        let y = Axis::around(points.iter().map(|point| point.rate).chain(peaks), HEIGHT);
        Some(Self { run, points, x, y })
    }

    fn draw(&self, backend: &str, svg: &mut String) {
        let threads = match self.run.threads {
            Some(1) => ", 1 thread".to_owned(),
            Some(threads) => format!(", {threads} threads"),
            None => String::new(),
        };
        let device = &self.run.device;
        let title = format!("{backend} on {} ({}){threads}", device.name, device.architecture);
        let _ = writeln!(svg, "<text x=\"0\" y=\"-28\" font-size=\"15\">{}</text>", escaped(&title));
        self.draw_axes(svg);
        self.draw_ceilings(svg);

        let mut lines: Vec<&str> = self.points.iter().map(|point| line(&point.case.name)).collect();
        lines.dedup();
        for (place, name) in lines.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let points: Vec<&Point<'_>> =
                self.points.iter().filter(|point| line(&point.case.name) == *name).collect();
            let path: Vec<String> = points.iter().map(|p| self.at(p.intensity, p.rate)).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-opacity=\"0.4\"/>",
                path.join(" ")
            );
            for point in &points {
                let (x, y) = (self.x.place(point.intensity), HEIGHT - self.y.place(point.rate));
                let fraction = point.case.fraction.zip(point.case.limit.as_ref());
                let fraction = fraction.map_or_else(String::new, |(fraction, limit)| {
                    format!(", {:.0} % of {}", 100.0 * fraction, limit.name)
                });
                let name = escaped(&point.case.name);
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{name}: {:.1} \
                     GFLOP/s{}</title></circle>",
                    point.rate / 1e9,
                    escaped(&fraction)
                );
            }
            let y = 14.0 * place as f64 + 8.0;
            if y < HEIGHT {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\" font-size=\"9\">{}</text>",
                    WIDTH + 12.0,
                    WIDTH + 20.0,
                    y + 3.0,
                    escaped(&short(name))
                );
            }
        }
    }

    fn draw_axes(&self, svg: &mut String) {
        let _ =
            writeln!(svg, "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#888888\"/>");
        for value in self.x.decades() {
            let x = self.x.place(value);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
                HEIGHT + 16.0
            );
        }
        for value in self.y.decades() {
            let y = HEIGHT - self.y.place(value);
            let _ = writeln!(
                svg,
                "<line x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                y + 4.0,
                value / 1e9
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">operations for each byte</text>\
             <text transform=\"translate(-48 {}) rotate(-90)\" text-anchor=\"middle\">GFLOP/s</text>",
            WIDTH / 2.0,
            HEIGHT + 38.0,
            HEIGHT / 2.0
        );
    }

    /// Instructions lie flat; memory allows more with every operation for a byte.
    fn draw_ceilings(&self, svg: &mut String) {
        let roof = self.run.ceilings.iter().filter(|c| is_compute(&c.name)).map(|c| c.rate.median);
        let roof = roof.fold(0.0, f64::max);
        for ceiling in &self.run.ceilings {
            let rate = ceiling.rate.median;
            let name = escaped(&ceiling.name);
            if is_compute(&ceiling.name) {
                let y = HEIGHT - self.y.place(rate);
                let _ = writeln!(
                    svg,
                    "<line x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\" stroke=\"#444444\" \
                     stroke-dasharray=\"6 3\"/><text x=\"6\" y=\"{:.1}\">{name}: {:.0} GFLOP/s</text>",
                    y - 4.0,
                    rate / 1e9
                );
                continue;
            }
            if ceiling.name == "copy" && self.run.ceilings.iter().any(|other| other.name == "read") {
                continue;
            }
            // From the left or lower edge to the roof or the right edge.
            let begin = self.x.least.max(self.y.least / rate);
            let top = if roof > 0.0 { roof.min(self.y.most) } else { self.y.most };
            let end = self.x.most.min(top / rate);
            if begin < end {
                let (from, to) = (self.at(begin, begin * rate), self.at(end, end * rate));
                let (x, y) = (self.x.place(begin) + 8.0, HEIGHT - self.y.place(begin * rate) - 14.0);
                let _ = writeln!(
                    svg,
                    "<polyline points=\"{from} {to}\" fill=\"none\" stroke=\"#444444\" stroke-dasharray=\"6 3\"/>\
                     <text x=\"{x:.1}\" y=\"{y:.1}\">{name}: {:.1} GB/s</text>",
                    rate / 1e9
                );
            }
        }
    }

    fn at(&self, intensity: f64, rate: f64) -> String {
        format!("{:.1},{:.1}", self.x.place(intensity), HEIGHT - self.y.place(rate))
    }
}

/// Whether a ceiling is an instruction.
fn is_compute(name: &str) -> bool {
    name != "read" && name != "copy"
}

/// The name of a case without its rows.
fn line(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(line, _)| line)
}

/// Operator and formats of a line.
fn short(line: &str) -> String {
    let mut parts = line.split('/');
    let operator = parts.next().unwrap_or_default();
    let formats: Vec<&str> = parts.skip(1).collect();
    format!("{operator} {}", formats.join(" × "))
}

/// A logarithmic axis over whole decades.
struct Axis {
    least: f64,
    most: f64,
    pixels: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, pixels: f64) -> Self {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| (least.min(value), most.max(value)));
        let least = 10f64.powf(least.log10().floor());
        // At least one decade, and room above for the names of the roofs.
        let most = 10f64.powf((1.2 * most).log10().ceil()).max(10.0 * least);
        Self { least, most, pixels }
    }

    fn place(&self, value: f64) -> f64 {
        self.pixels * (value / self.least).log10() / (self.most / self.least).log10()
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (first, last) = (self.least.log10().round() as i32, self.most.log10().round() as i32);
        (first..=last).map(|power| 10f64.powi(power))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_its_values_within_whole_decades() {
        let axis = Axis::around([3.0, 40.0, 700.0].into_iter(), 100.0);
        assert_eq!((axis.least, axis.most), (1.0, 1000.0));
        assert!((axis.place(10.0) - 33.333).abs() < 0.01);
        assert_eq!(axis.decades().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1000.0]);
        let flat = Axis::around([10.0].into_iter(), 100.0);
        assert!(flat.place(10.0) == 0.0 && flat.most == 100.0);
    }

    #[test]
    fn names_are_cut_and_marked_up_characters_escaped() {
        assert_eq!(short("matmul/4096x4096/mxfp4/bf16"), "matmul mxfp4 × bf16");
        assert_eq!(line("moe-ffn/1x2x3x4/mxfp4/bf16/8"), "moe-ffn/1x2x3x4/mxfp4/bf16");
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
