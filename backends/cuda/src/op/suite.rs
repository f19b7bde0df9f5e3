//! That the conformance suite launches each kernel on each target that it is for: what it finds right under simulation, or
//! on a device, it finds right of all of them.

use std::collections::BTreeSet;

use mxhal_conformance::case::Body;
use mxhal_conformance::opcase::{OpCase, Question};
use mxhal_conformance::suite::SuiteKind;
use mxhal_core::Support;
use mxhal_kernels_cuda::{KERNELS, Target};

use super::{Strides, executable, measure};
use crate::support::tests::offer;
use crate::support::{Offer, supports};

/// The kernels that a case launches.
fn launched(offer: &Offer, case: &OpCase) -> Vec<&'static str> {
    match (supports(offer, &case.op), executable(&case.op)) {
        (Ok(Support::Yes(_)), Ok(execute)) => {
            measure(offer, &*execute, &case.op.signature(), case.rows, Strides::Dense).unwrap().1
        }
        _ => Vec::new(),
    }
}

#[test]
fn the_suite_launches_every_kernel() {
    let cases: Vec<OpCase> = SuiteKind::ALL
        .into_iter()
        .flat_map(|suite| suite.cases(0))
        .filter_map(|case| match case.body {
            Body::Op(case) if case.question == Question::Run => Some(case),
            _ => None,
        })
        .collect();
    for target in Target::ALL {
        let offer = offer(target);
        let launched: BTreeSet<_> = cases.iter().flat_map(|case| launched(&offer, case)).collect();
        let missing: Vec<_> = KERNELS
            .iter()
            .filter(|kernel| kernel.targets.contains(&target) && !launched.contains(kernel.name))
            .map(|kernel| kernel.name)
            .collect();
        assert!(missing.is_empty(), "{target}: no case launches {}", missing.join(", "));
    }
}
