//! What an operator's tensors and weights must look like: one table for every reader.

use core::fmt;

use super::OpKind;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::tensor::{Layout, Tensor};

/// Whether an operator reads or writes a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Read, and never written.
    Input,
    /// Written, and never read before that.
    Output,
}

/// One extent of a tensor's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Always this.
    Fixed(usize),
    /// So many for each row (token) of the run; the rows are the same for all tensors of a run, and at most
    /// [`Op::max_rows`](crate::Op::max_rows).
    PerRow(usize),
}

impl Extent {
    /// The extent in a run with so many rows.
    pub const fn at(self, rows: usize) -> usize {
        match self {
            Self::Fixed(extent) => extent,
            Self::PerRow(times) => rows * times,
        }
    }
}

/// One tensor of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, as in the operator's documentation.
    pub name: &'static str,
    /// Read or written.
    pub role: Role,
    /// The format of its elements.
    pub format: Format,
    /// Its shape.
    pub shape: Vec<Extent>,
    /// Whether the operator's attributes ask for it. Where they do not, its place is passed empty.
    pub present: bool,
}

impl Argument {
    pub(super) fn input(name: &'static str, format: Format, shape: &[Extent]) -> Self {
        Self { name, role: Role::Input, format, shape: shape.to_vec(), present: true }
    }

    pub(super) fn output(name: &'static str, format: Format, shape: &[Extent]) -> Self {
        Self { name, role: Role::Output, format, shape: shape.to_vec(), present: true }
    }

    pub(super) fn when(mut self, present: bool) -> Self {
        self.present = present;
        self
    }

    /// Its contiguous layout in a run with so many rows.
    ///
    /// # Errors
    ///
    /// Those of [`Layout::contiguous`]; none for an operator that validates.
    pub fn layout(&self, rows: usize) -> Result<Layout> {
        let shape: Vec<usize> = self.shape.iter().map(|extent| extent.at(rows)).collect();
        Layout::contiguous(self.format, &shape)
    }

    /// Bytes of elements, scales and factors in a run with so many rows.
    fn bytes(&self, rows: usize) -> u64 {
        match self.layout(rows) {
            Ok(layout) if self.present => {
                (layout.data_bytes() + layout.scales_bytes() + layout.factors_bytes()) as u64
            }
            _ => 0,
        }
    }
}

/// What prepared weights are: enough to know which plans may use them.
///
/// Weights prepared with a description may be passed to any plan of the same device whose
/// [`Op::weights`](crate::Op::weights) has an equal description in that place: a plan for one token and one for four
/// thousand, a grouped product and a fused layer share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightsDesc {
    /// The format of the canonical bytes.
    pub format: Format,
    /// Experts, or 1 for a single matrix.
    pub groups: usize,
    /// Output columns: rows of the matrix.
    pub n: usize,
    /// Input columns: columns of the matrix, along which scales are shared.
    pub k: usize,
    /// The format of the activations that they will be multiplied with.
    pub activation: Format,
}

impl fmt::Display for WeightsDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, groups, n, k, activation } = self;
        write!(f, "{format}[{groups}, {n}, {k}] for {activation} activations")
    }
}

impl WeightsDesc {
    /// The canonical layout, `[groups, n, k]`: what an export gives.
    ///
    /// # Errors
    ///
    /// Those of [`Layout::contiguous`].
    pub fn layout(&self) -> Result<Layout> {
        Layout::contiguous(self.format, &[self.groups, self.n, self.k])
    }

    /// Checks the parts from which weights are prepared: matrices `[n_i, k]`, contiguous, equally many for each
    /// group, group by group; those of one group stack to `[n, k]` (gate over up, as two tensors of a checkpoint).
    /// Gives the number of parts a group has.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument), naming the part.
    pub fn check_parts(&self, layouts: &[Layout]) -> Result<usize> {
        let parts = layouts.len() / self.groups.max(1);
        if parts == 0 || layouts.len() != parts * self.groups {
            return Err(Error::invalid(format!(
                "weights of {} groups come in as many parts for each, at least one, and {} were given",
                self.groups,
                layouts.len()
            )));
        }
        for (group, stack) in layouts.chunks(parts).enumerate() {
            let mut rows = 0;
            for (part, layout) in stack.iter().enumerate() {
                let at = || format!("part {part} of group {group} is {layout}");
                if layout.format() != self.format || layout.shape().len() != 2 || layout.columns() != self.k {
                    return Err(Error::invalid(format!(
                        "{}, and it should be {}[n, {}]",
                        at(),
                        self.format,
                        self.k
                    )));
                }
                let tile = self.format.blocks().map_or(1, |blocks| blocks.rows);
                if part + 1 < parts && !layout.rows().is_multiple_of(tile) {
                    return Err(Error::invalid(format!(
                        "{}, and parts of {} that others follow have a multiple of {tile} rows",
                        at(),
                        self.format
                    )));
                }
                rows += layout.rows();
            }
            if rows != self.n {
                return Err(Error::invalid(format!(
                    "the parts of group {group} stack to {rows} rows, and the weights have {}",
                    self.n
                )));
            }
        }
        Ok(parts)
    }

    pub(super) fn bytes(&self, groups: usize) -> u64 {
        match Layout::contiguous(self.format, &[self.n, self.k]) {
            Ok(one) => groups as u64 * (one.data_bytes() + one.scales_bytes() + one.factors_bytes()) as u64,
            Err(_) => 0,
        }
    }
}

/// What a run costs: the numbers under a roofline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Useful operations; a multiplication and an addition are two.
    pub flops: u64,
    /// Bytes of tensors read.
    pub read_bytes: u64,
    /// Bytes of tensors written.
    pub written_bytes: u64,
    /// Bytes of weights read once.
    pub weight_bytes: u64,
}

impl Work {
    /// All bytes moved.
    pub const fn bytes(&self) -> u64 {
        self.read_bytes + self.written_bytes + self.weight_bytes
    }

    pub(super) fn of(arguments: &[Argument], rows: usize) -> Self {
        let sum = |role| arguments.iter().filter(|a| a.role == role).map(|a| a.bytes(rows)).sum();
        Self { flops: 0, read_bytes: sum(Role::Input), written_bytes: sum(Role::Output), weight_bytes: 0 }
    }

    /// Of tensors that a run reads in part, the rest taken off again.
    pub(super) fn without_read(mut self, bytes: usize) -> Self {
        self.read_bytes -= bytes as u64;
        self
    }

    pub(super) fn with_flops(mut self, flops: usize) -> Self {
        self.flops = flops as u64;
        self
    }

    pub(super) fn with_weights(mut self, bytes: u64) -> Self {
        self.weight_bytes = bytes;
        self
    }
}

/// What a run of an operator takes; see [`Op::signature`](crate::Op::signature).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    kind: OpKind,
    arguments: Vec<Argument>,
    weights: Vec<WeightsDesc>,
    max_rows: usize,
}

impl Signature {
    pub(super) const fn new(
        kind: OpKind,
        arguments: Vec<Argument>,
        weights: Vec<WeightsDesc>,
        max_rows: usize,
    ) -> Self {
        Self { kind, arguments, weights, max_rows }
    }

    /// Which operator's.
    pub const fn kind(&self) -> OpKind {
        self.kind
    }

    /// The tensors, in the order in which they are passed.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// The prepared weights, in the order in which they are passed.
    pub fn weights(&self) -> &[WeightsDesc] {
        &self.weights
    }

    /// The most rows (tokens) of a run.
    pub const fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Checks the tensors of a run, and gives the number of rows they have. It allocates only to say what is wrong.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument), naming the tensor.
    pub fn check(&self, tensors: &[Option<Tensor>]) -> Result<usize> {
        self.rows_of(tensors).map_err(|error| error.within(self.kind))
    }

    /// Checks the descriptions of the prepared weights of a run.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument), naming the place.
    pub fn check_weights<'a>(&self, given: impl ExactSizeIterator<Item = &'a WeightsDesc>) -> Result<()> {
        if given.len() != self.weights.len() {
            return Err(Error::invalid(format!(
                "{} prepared weights were passed, and it takes {}",
                given.len(),
                self.weights.len()
            ))
            .within(self.kind));
        }
        for (place, (given, wanted)) in given.zip(&self.weights).enumerate() {
            if given != wanted {
                return Err(Error::invalid(format!(
                    "weights {place} were prepared as {given}, and it takes {wanted}"
                ))
                .within(self.kind));
            }
        }
        Ok(())
    }

    fn rows_of(&self, tensors: &[Option<Tensor>]) -> Result<usize> {
        if tensors.len() != self.arguments.len() {
            return Err(Error::invalid(format!(
                "{} tensors were passed, and it takes {}: {}",
                tensors.len(),
                self.arguments.len(),
                self.arguments.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
            )));
        }
        let mut rows = None;
        for (argument, tensor) in self.arguments.iter().zip(tensors) {
            let name = argument.name;
            match (tensor, argument.present) {
                (None, false) => {}
                (None, true) => return Err(Error::invalid(format!("tensor `{name}` is missing"))),
                (Some(_), false) => {
                    return Err(Error::invalid(format!(
                        "tensor `{name}` was passed, and the attributes exclude it"
                    )));
                }
                (Some(tensor), true) => check_one(argument, tensor, &mut rows)?,
            }
        }
        // Every operator has a tensor whose extent depends on the rows.
        let rows = rows.unwrap_or(0);
        if rows > self.max_rows {
            return Err(Error::invalid(format!(
                "{rows} rows were passed to a plan for at most {}",
                self.max_rows
            )));
        }
        Ok(rows)
    }
}

fn check_one(argument: &Argument, tensor: &Tensor, rows: &mut Option<usize>) -> Result<()> {
    let (name, layout) = (argument.name, tensor.layout());
    let wrong = |why: &str| {
        let wanted: Vec<String> = argument
            .shape
            .iter()
            .map(|extent| match extent {
                Extent::Fixed(n) => n.to_string(),
                Extent::PerRow(1) => "rows".to_owned(),
                Extent::PerRow(n) => format!("{n}·rows"),
            })
            .collect();
        Error::invalid(format!(
            "tensor `{name}` is {layout}, and it should be {}[{}]{why}",
            argument.format,
            wanted.join(", ")
        ))
    };
    if layout.format() != argument.format || layout.shape().len() != argument.shape.len() {
        return Err(wrong(""));
    }
    for (&extent, &got) in argument.shape.iter().zip(layout.shape()) {
        match extent {
            Extent::Fixed(wanted) if wanted == got => {}
            Extent::PerRow(times) if got.is_multiple_of(times) => {
                let here = got / times;
                if *rows.get_or_insert(here) != here {
                    return Err(wrong(&format!(
                        " with {} rows, as the tensors before it",
                        rows.unwrap_or(0)
                    )));
                }
            }
            _ => return Err(wrong("")),
        }
    }
    if !tensor.is_complete() {
        return Err(wrong(", with its scales (and the factors of nvfp4)"));
    }
    Ok(())
}
