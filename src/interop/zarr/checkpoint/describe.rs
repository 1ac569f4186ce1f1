//! The metadata of a checkpoint: Zarr's, and the records of the manifest.

use super::{
    run::Run,
    source::{Source, chunk_shape, codecs_of},
};
use crate::{
    cbor,
    error::Result,
    interop::zarr::{
        names::Dimensions,
        record::{self, ArrayRecord, Chunk, ColumnRecord},
        types::{self, Column},
    },
    layout::Order,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::sync::PoisonError;

impl Run<'_> {
    /// The metadata of all groups and arrays by their paths, and the records of the manifest.
    pub(super) fn describe(&self) -> Result<(serde_json::Map<String, Value>, Vec<ArrayRecord>)> {
        let nodes_of_arrays = self
            .sources
            .iter()
            .flat_map(|source| source.nodes.iter().cloned());
        let mut dimensions = Dimensions::new(nodes_of_arrays);
        let (mut nodes, mut records) = (serde_json::Map::new(), Vec::new());
        for source in &self.sources {
            let attrs: ciborium::Value = source.info.attrs()?;
            let names = &source.info.axis_names;
            if source.columns[0].field.is_some() {
                let group = json!({
                    "zarr_format": 3,
                    "node_type": "group",
                    "attributes": self.attributes(source, None, &attrs),
                });
                nodes.insert(types::node_of(&source.name), group);
            }
            let axes = dimensions.of(&types::node_of(&source.name), names, &source.info.shape);
            let mut columns = Vec::new();
            let done = source.done.lock().unwrap_or_else(PoisonError::into_inner);
            for (index, column) in source.columns.iter().enumerate() {
                let node = &source.nodes[index];
                let own = dimensions.of(&format!("{node}_element"), &[], &column.inner);
                let shape = [&source.info.shape[..], &column.inner].concat();
                let names = [axes.clone(), own].concat();
                let metadata = json!({
                    "zarr_format": 3,
                    "node_type": "array",
                    "shape": shape,
                    "data_type": column.data_type,
                    "chunk_grid": {
                        "name": "regular",
                        "configuration": {"chunk_shape": chunk_shape(source, column)},
                    },
                    "chunk_key_encoding": {
                        "name": "default",
                        "configuration": {"separator": "/"},
                    },
                    "fill_value": column.fill_value,
                    "codecs": codecs_of(source, column, self.settings.codecs),
                    "attributes": self.attributes(source, Some(column), &attrs),
                    "dimension_names": names,
                    "storage_transformers": [],
                });
                nodes.insert(node.clone(), metadata);
                let chunks: Option<Vec<Chunk>> = done[index].iter().cloned().collect();
                columns.push(ColumnRecord {
                    node: node.clone(),
                    chunks: match chunks {
                        Some(chunks) => chunks,
                        None => unreachable!("all chunks are done"),
                    },
                });
            }
            records.push(self.record(source, &attrs, columns));
        }
        Ok((nodes, records))
    }

    fn record(
        &self,
        source: &Source,
        attrs: &ciborium::Value,
        columns: Vec<ColumnRecord>,
    ) -> ArrayRecord {
        let has_attrs = attrs.as_map().is_some_and(|entries| !entries.is_empty());
        ArrayRecord {
            name: source.name.clone(),
            id: source.info.id.to_string(),
            dtype: source.info.dtype.to_string(),
            dtype_cbor: STANDARD.encode(cbor::encode(&source.info.dtype.to_value())),
            shape: source.info.shape.clone(),
            order: match source.info.order {
                Order::C => "C".into(),
                Order::F => "F".into(),
            },
            axis_names: source.info.axis_names.clone(),
            attrs: has_attrs.then(|| STANDARD.encode(cbor::encode(attrs))),
            is_frozen: source.is_frozen,
            is_poisoned: source.is_poisoned,
            max_len: source.info.max_len,
            structs: source.columns[0].field.is_none() && source.columns[0].data_type.is_object(),
            chunk_shape: source.grid.chunk_shape(),
            encoding: source.encoding.clone(),
            columns,
        }
    }

    /// The attributes of an array for other readers: those that JSON has, those of CF for times,
    /// and what Zarr's type does not say.
    fn attributes(
        &self,
        source: &Source,
        column: Option<&Column>,
        attrs: &ciborium::Value,
    ) -> Value {
        let mut all = serde_json::Map::new();
        for (key, value) in attrs.as_map().into_iter().flatten() {
            if let (Some(key), Some(value)) = (key.as_text(), record::json_of(value)) {
                all.insert(key.into(), value);
            }
        }
        let mut own = serde_json::Map::new();
        if let Some(meant) = column.and_then(|column| column.meant.as_ref()) {
            own.insert("dtype".into(), meant.as_str().into());
        }
        if source.is_poisoned {
            own.insert("poisoned".into(), true.into());
        }
        if !own.is_empty() {
            all.entry("ndshm").or_insert(own.into());
        }
        if let Some(dtype) = source.array.numpy_dtype() {
            for (key, value) in times(&dtype.to_string()) {
                all.entry(key).or_insert(value.into());
            }
        }
        all.into()
    }
}

/// The attributes by which CF says that integers are times.
fn times(numpy: &str) -> Vec<(&'static str, String)> {
    let (is_date, unit) = match numpy.get(..4) {
        Some("<M8[") => (true, &numpy[4..]),
        Some("<m8[") => (false, &numpy[4..]),
        _ => return Vec::new(),
    };
    let unit = match unit.trim_end_matches(']') {
        "D" => "days",
        "h" => "hours",
        "m" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        // CF has no other unit, and no multiples.
        _ => return Vec::new(),
    };
    match is_date {
        true => vec![
            ("units", format!("{unit} since 1970-01-01")),
            ("calendar", "proleptic_gregorian".into()),
        ],
        false => vec![("units", unit.into()), ("dtype", "timedelta64[ns]".into())],
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_that_cf_knows() {
        assert_eq!(times("<M8[ns]")[0].1, "nanoseconds since 1970-01-01");
        assert_eq!(times("<m8[h]")[0].1, "hours");
        for other in ["<M8[25s]", "<M8[Y]", "<M8", "|S4", "<i8"] {
            assert!(times(other).is_empty(), "{other}");
        }
    }
}
