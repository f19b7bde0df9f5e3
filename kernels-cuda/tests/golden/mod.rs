//! The golden files of `conformance/golden`.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;

use safetensors::SafeTensors;

pub(crate) struct Golden(Vec<u8>);

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../conformance/golden/{name}.safetensors"));
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tensors().names().into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).unwrap().shape().to_vec()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Vec<u8>> {
        self.tensors().tensor(name).ok().map(|tensor| tensor.data().to_vec())
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.find(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    pub(crate) fn halves(&self, name: &str) -> Vec<u16> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    pub(crate) fn integers(&self, name: &str) -> Vec<i32> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
    }

    pub(crate) fn doubles(&self, name: &str) -> Vec<f64> {
        self.bytes(name).as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }
}
