//! Weights that come back.

use mxhal_core::HostBuffer;

use crate::outcome::Failure;

/// Whether weights came back as they were given; one factor for all rows may come back as one for each.
pub(crate) fn expect_same_weights(given: &HostBuffer, exported: &HostBuffer) -> Result<(), Failure> {
    if exported.layout != given.layout {
        let message = format!("weights of {} were exported as {}", given.layout, exported.layout);
        return Err(Failure::new(message));
    }
    let repeated;
    let factors = if given.factors.len() == 4 && exported.factors.len() > 4 {
        repeated = given.factors.repeat(exported.factors.len() / 4);
        &repeated
    } else {
        &given.factors
    };
    let parts = [
        ("data", &given.data, &exported.data),
        ("scales", &given.scales, &exported.scales),
        ("factors", factors, &exported.factors),
    ];
    for (part, given, exported) in parts {
        if given.len() != exported.len() {
            let message = format!("{} bytes of {part} came back as {}", given.len(), exported.len());
            return Err(Failure::new(message));
        }
        let wrong = given.iter().zip(exported).filter(|(given, exported)| given != exported).count();
        if let Some(place) = given.iter().zip(exported).position(|(given, exported)| given != exported) {
            return Err(Failure {
                tensor: Some(format!("weights ({part})")),
                index: vec![place],
                expected: Some(format!("{:#04x}", given[place])),
                got: Some(format!("{:#04x}", exported[place])),
                wrong_elements: Some(wrong as u64),
                ..Failure::new("exported weights are not the ones that were prepared")
            });
        }
    }
    Ok(())
}
