//! Which chip it is, and whether it is one.

use std::fs;

use mxhal_cann::Library;
use mxhal_core::{Error, Result, Status};

/// A system on chip of the 950 family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Soc {
    name: String,
    simulated: bool,
}

impl Soc {
    /// The chip that `aclrtGetSocName` names, if it is of the 950 family.
    ///
    /// # Errors
    ///
    /// [`Status::Unavailable`] for any other.
    pub(crate) fn new(name: String, library: &Library) -> Result<Self> {
        if !name.starts_with("Ascend950") {
            return Err(Error::new(
                Status::Unavailable,
                format!(
                    "the NPU is {name}, and this backend needs Ascend 950 (950PR or 950DT): the MX operators of CANN are \
                     for no other"
                ),
            ));
        }
        Ok(Self { name, simulated: is_simulated(library) })
    }

    /// As CANN has it: `Ascend950PR_9599`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As people say it: `Ascend 950PR`.
    pub(crate) fn product(&self) -> String {
        let family = self.name.split('_').next().unwrap_or(&self.name);
        format!("{}{}", family.replacen("Ascend", "Ascend ", 1), self.remark())
    }

    /// What must stand beside whatever is said of a simulation.
    pub(crate) fn remark(&self) -> &'static str {
        if self.simulated { " (simulated)" } else { "" }
    }
}

/// Whether CANN's libraries are links to the simulator's: its file says so in its name.
fn is_simulated(library: &Library) -> bool {
    library.opened().iter().any(|path| {
        let file = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        file.file_name().is_some_and(|name| name.to_string_lossy().contains("simulated"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_chip_is_called_so() {
        let soc = |simulated| Soc { name: "Ascend950PR_9599".into(), simulated };
        assert_eq!(soc(false).product(), "Ascend 950PR");
        assert_eq!(soc(true).product(), "Ascend 950PR (simulated)");
    }
}
