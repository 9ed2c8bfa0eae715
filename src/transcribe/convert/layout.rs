//! Which CTranslate2 array becomes which ggml tensor. Weights stay 16-bit floats; biases, norms and positions become 32-bit.

use std::borrow::Cow;

use super::ConvertError;
use super::ct2::{Dtype, Variable, Variables};
use super::ggml::{Header, Kind, Model, TYPE_F16, Tensor};
use super::quantise::widen;

/// More layers than the largest Whisper has.
const MAX_LAYERS: usize = 64;

/// Lays out the whole model, with 16-bit weights.
///
/// # Errors
/// [`ConvertError::Layout`] when an array is missing or has another shape.
pub fn model<'a>(variables: &Variables<'a>, tokens: Vec<Vec<u8>>) -> Result<Model<'a>, ConvertError> {
    let mut layout = Layout { variables, tensors: Vec::new() };
    let header = layout.header()?;
    layout.encoder(&header)?;
    layout.decoder(&header)?;
    Ok(Model { header, tokens, tensors: layout.tensors })
}

struct Layout<'v, 'a> {
    variables: &'v Variables<'a>,
    tensors: Vec<Tensor<'a>>,
}

impl<'a> Layout<'_, 'a> {
    fn get(&self, name: &str) -> Result<&Variable<'a>, ConvertError> {
        self.variables.get(name).ok_or_else(|| ConvertError::Layout(format!("{name} is missing")))
    }

    fn header(&self) -> Result<Header, ConvertError> {
        let audio = self.shape("encoder/position_encodings/encodings")?;
        let text = self.shape("decoder/position_encodings/encodings")?;
        let embedding = self.shape("decoder/embeddings/weight")?;
        Ok(Header {
            vocabulary: embedding.0,
            audio_context: audio.0,
            width: audio.1,
            audio_heads: self.heads("encoder/num_heads")?,
            audio_layers: self.layers("encoder"),
            text_context: text.0,
            text_heads: self.heads("decoder/num_heads")?,
            text_layers: self.layers("decoder"),
            file_type: TYPE_F16,
        })
    }

    fn shape(&self, name: &str) -> Result<(usize, usize), ConvertError> {
        match self.get(name)?.dims[..] {
            [rows, columns] => Ok((rows, columns)),
            ref other => Err(ConvertError::Layout(format!("{name} has the shape {other:?}"))),
        }
    }

    fn heads(&self, name: &str) -> Result<usize, ConvertError> {
        let heads = self.get(name)?.integer().and_then(|heads| usize::try_from(heads).ok());
        heads.ok_or_else(|| ConvertError::Layout(format!("{name} is not a number of heads")))
    }

    fn layers(&self, side: &str) -> usize {
        let present =
            |i: &usize| self.variables.contains_key(&format!("{side}/layer_{i}/ffn/linear_0/weight"));
        (0..MAX_LAYERS).take_while(present).count()
    }

    fn encoder(&mut self, header: &Header) -> Result<(), ConvertError> {
        self.full("encoder.positional_embedding", "encoder/position_encodings/encodings")?;
        for conv in ["conv1", "conv2"] {
            self.half(&format!("encoder.{conv}.weight"), &format!("encoder/{conv}/weight"))?;
            self.full(&format!("encoder.{conv}.bias"), &format!("encoder/{conv}/bias"))?;
            // whisper.cpp wants it as a column, to add it to every frame
            if let Some(bias) = self.tensors.last_mut() {
                bias.dims.push(1);
            }
        }
        self.norm("encoder.ln_post", "encoder/layer_norm")?;
        for i in 0..header.audio_layers {
            self.layer(&format!("encoder.blocks.{i}"), &format!("encoder/layer_{i}"), header.width)?;
        }
        Ok(())
    }

    fn decoder(&mut self, header: &Header) -> Result<(), ConvertError> {
        self.full("decoder.positional_embedding", "decoder/position_encodings/encodings")?;
        self.half("decoder.token_embedding.weight", "decoder/embeddings/weight")?;
        self.norm("decoder.ln", "decoder/layer_norm")?;
        for i in 0..header.text_layers {
            let (to, from) = (format!("decoder.blocks.{i}"), format!("decoder/layer_{i}"));
            self.layer(&to, &from, header.width)?;
            self.norm(&format!("{to}.cross_attn_ln"), &format!("{from}/attention/layer_norm"))?;
            self.linear(&format!("{to}.cross_attn.query"), &format!("{from}/attention/linear_0"))?;
            let both = format!("{from}/attention/linear_1");
            self.rows(&format!("{to}.cross_attn.key"), &both, 0, header.width, false)?;
            self.rows(&format!("{to}.cross_attn.value"), &both, 1, header.width, true)?;
            self.linear(&format!("{to}.cross_attn.out"), &format!("{from}/attention/linear_2"))?;
        }
        Ok(())
    }

    /// Self-attention and the two layers behind it, which encoder and decoder share.
    fn layer(&mut self, to: &str, from: &str, width: usize) -> Result<(), ConvertError> {
        self.norm(&format!("{to}.attn_ln"), &format!("{from}/self_attention/layer_norm"))?;
        let all = format!("{from}/self_attention/linear_0");
        // the key has no bias: what the array holds for it is zero
        for (part, name, bias) in [(0, "query", true), (1, "key", false), (2, "value", true)] {
            self.rows(&format!("{to}.attn.{name}"), &all, part, width, bias)?;
        }
        self.linear(&format!("{to}.attn.out"), &format!("{from}/self_attention/linear_1"))?;
        self.norm(&format!("{to}.mlp_ln"), &format!("{from}/ffn/layer_norm"))?;
        self.linear(&format!("{to}.mlp.0"), &format!("{from}/ffn/linear_0"))?;
        self.linear(&format!("{to}.mlp.2"), &format!("{from}/ffn/linear_1"))
    }

    fn norm(&mut self, to: &str, from: &str) -> Result<(), ConvertError> {
        self.full(&format!("{to}.weight"), &format!("{from}/gamma"))?;
        self.full(&format!("{to}.bias"), &format!("{from}/beta"))
    }

    fn linear(&mut self, to: &str, from: &str) -> Result<(), ConvertError> {
        self.half(&format!("{to}.weight"), &format!("{from}/weight"))?;
        self.full(&format!("{to}.bias"), &format!("{from}/bias"))
    }

    /// The `part`th `width` rows of a matrix that holds several.
    fn rows(
        &mut self,
        to: &str,
        from: &str,
        part: usize,
        width: usize,
        bias: bool,
    ) -> Result<(), ConvertError> {
        self.slice(&format!("{to}.weight"), &format!("{from}/weight"), part, width, Kind::F16)?;
        if bias {
            self.slice(&format!("{to}.bias"), &format!("{from}/bias"), part, width, Kind::F32)?;
        }
        Ok(())
    }

    fn half(&mut self, to: &str, from: &str) -> Result<(), ConvertError> {
        let rows = self.get(from)?.dims.first().copied().unwrap_or(0);
        self.slice(to, from, 0, rows, Kind::F16)
    }

    fn full(&mut self, to: &str, from: &str) -> Result<(), ConvertError> {
        let rows = self.get(from)?.dims.first().copied().unwrap_or(0);
        self.slice(to, from, 0, rows, Kind::F32)
    }

    fn slice(
        &mut self,
        to: &str,
        from: &str,
        part: usize,
        rows: usize,
        kind: Kind,
    ) -> Result<(), ConvertError> {
        let Variable { mut dims, dtype, data } = self.get(from)?.clone();
        if dtype != Dtype::F16 {
            return Err(ConvertError::Layout(format!("{from} is not made of 16-bit floats")));
        }
        let row_bytes = 2 * dims.iter().skip(1).product::<usize>();
        let found = data.get(part * rows * row_bytes..(part + 1) * rows * row_bytes);
        let data = found.filter(|data| !data.is_empty());
        let data = data.ok_or_else(|| ConvertError::Layout(format!("{from} has the shape {dims:?}")))?;
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        let data = if kind == Kind::F32 { Cow::Owned(widen(data)) } else { Cow::Borrowed(data) };
        self.tensors.push(Tensor { name: to.to_owned(), dims, kind, data });
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ct2::{parse, tests::container};
    use super::super::vocabulary::tests::tokenizer;
    use super::super::{ConvertError, ct2_to_q8_0, ggml};
    use super::*;

    const WIDTH: u32 = 32;

    /// A model of width 32 with one layer on each side; every array is filled with its own index.
    pub(crate) fn tiny() -> Vec<u8> {
        let mut arrays: Vec<(String, Vec<u32>)> = vec![
            ("encoder/position_encodings/encodings".into(), vec![1500, WIDTH]),
            ("decoder/position_encodings/encodings".into(), vec![448, WIDTH]),
            ("decoder/embeddings/weight".into(), vec![51_865, WIDTH]),
            ("encoder/conv1/weight".into(), vec![WIDTH, 80, 3]),
            ("encoder/conv1/bias".into(), vec![WIDTH]),
            ("encoder/conv2/weight".into(), vec![WIDTH, WIDTH, 3]),
            ("encoder/conv2/bias".into(), vec![WIDTH]),
        ];
        let mut norm = |name: &str| {
            arrays.extend(["gamma", "beta"].map(|part| (format!("{name}/{part}"), vec![WIDTH])));
        };
        ["encoder/layer_norm", "decoder/layer_norm", "decoder/layer_0/attention/layer_norm"]
            .into_iter()
            .for_each(&mut norm);
        for side in ["encoder", "decoder"] {
            norm(&format!("{side}/layer_0/self_attention/layer_norm"));
            norm(&format!("{side}/layer_0/ffn/layer_norm"));
        }
        let mut linear = |name: &str, rows: u32, columns: u32| {
            arrays.push((format!("{name}/weight"), vec![rows, columns]));
            arrays.push((format!("{name}/bias"), vec![rows]));
        };
        for side in ["encoder", "decoder"] {
            linear(&format!("{side}/layer_0/self_attention/linear_0"), 3 * WIDTH, WIDTH);
            linear(&format!("{side}/layer_0/self_attention/linear_1"), WIDTH, WIDTH);
            linear(&format!("{side}/layer_0/ffn/linear_0"), 4 * WIDTH, WIDTH);
            linear(&format!("{side}/layer_0/ffn/linear_1"), WIDTH, 4 * WIDTH);
        }
        linear("decoder/layer_0/attention/linear_0", WIDTH, WIDTH);
        linear("decoder/layer_0/attention/linear_1", 2 * WIDTH, WIDTH);
        linear("decoder/layer_0/attention/linear_2", WIDTH, WIDTH);
        let filled = |index: usize, dims: &[u32]| {
            let value = half::f16::from_f32(index as f32).to_le_bytes();
            value.repeat(dims.iter().map(|dim| *dim as usize).product())
        };
        let mut all: Vec<(&str, &[u32], u8, Vec<u8>)> = arrays
            .iter()
            .enumerate()
            .map(|(index, (name, dims))| (name.as_str(), dims.as_slice(), 4, filled(index, dims)))
            .collect();
        all.push(("encoder/num_heads", &[], 2, vec![2, 0]));
        all.push(("decoder/num_heads", &[], 2, vec![2, 0]));
        container(&all)
    }

    #[test]
    fn lays_out_every_tensor_of_a_layer() {
        let bytes = tiny();
        let variables = parse(&bytes).unwrap();
        let model = model(&variables, Vec::new()).unwrap();
        // as in the published files: tiny has 11 + 4 * (15 + 24) = 167
        assert_eq!(model.tensors.len(), 11 + 15 + 24);
        let tensor = |name: &str| model.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(tensor("encoder.conv1.bias").dims, [32, 1]);
        assert_eq!(tensor("encoder.conv1.bias").kind, Kind::F32);
        assert_eq!(tensor("encoder.conv2.weight").dims, [32, 32, 3]);
        assert_eq!(tensor("decoder.blocks.0.cross_attn.value.weight").dims, [32, 32]);
        assert_eq!(tensor("decoder.blocks.0.mlp.0.weight").dims, [128, 32]);
        assert!(!model.tensors.iter().any(|tensor| tensor.name.ends_with("key.bias")));
    }

    #[test]
    fn the_parts_of_a_joint_matrix_are_cut_in_order() {
        let part = |first: f32| half::f16::from_f32(first).to_le_bytes().repeat(4);
        let data = [part(1.0), part(2.0), part(3.0)].concat();
        let bytes = container(&[("q/weight", &[6, 2], 4, data)]);
        let variables = parse(&bytes).unwrap();
        let mut layout = Layout { variables: &variables, tensors: Vec::new() };
        layout.rows("k", "q", 1, 2, false).unwrap();
        assert_eq!(layout.tensors[0].dims, [2, 2]);
        assert_eq!(layout.tensors[0].data[..], part(2.0)[..]);
        assert!(layout.rows("k", "q", 3, 2, false).is_err(), "there is no fourth part");
    }

    #[test]
    fn a_converted_model_has_the_header_of_its_source() {
        let bytes = ct2_to_q8_0(&tiny(), &tokenizer("")).unwrap();
        let header = ggml::read_header(&bytes).unwrap();
        assert_eq!((header.vocabulary, header.width, header.audio_heads), (51_865, 32, 2));
        assert_eq!((header.audio_layers, header.text_layers, header.file_type), (1, 1, ggml::TYPE_Q8_0));
    }

    #[test]
    fn a_missing_array_is_named() {
        let bytes = container(&[("encoder/num_heads", &[], 2, vec![2, 0])]);
        let Err(ConvertError::Layout(message)) = model(&parse(&bytes).unwrap(), Vec::new()).map(drop) else {
            panic!("no error");
        };
        assert!(message.contains("encoder/position_encodings/encodings"), "{message}");
    }
}
