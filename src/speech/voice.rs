//! Which synthesiser speaks which language, and with which voice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A speech synthesiser that runs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Festival: the clearest English of the three over a telephone line.
    Festival,
    /// Flite: English, light.
    Flite,
    /// eSpeak NG: over a hundred languages, robotic.
    EspeakNg,
}

impl Engine {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Festival => "festival",
            Self::Flite => "flite",
            Self::EspeakNg => "espeak-ng",
        }
    }

    /// The program that is run.
    pub fn program(self) -> &'static str {
        match self {
            Self::Festival => "text2wave",
            Self::Flite => "flite",
            Self::EspeakNg => "espeak-ng",
        }
    }

    /// The Debian package that brings the program.
    pub fn package(self) -> &'static str {
        self.as_str()
    }
}

/// A synthesiser and one of its voices.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voice {
    /// The synthesiser.
    pub engine: Engine,
    /// The voice in the synthesiser's own words: `cmu_us_slt_arctic_hts`, `slt`, `de`.
    pub name: String,
}

impl Voice {
    /// Joins a synthesiser and a voice.
    pub fn new(engine: Engine, name: impl Into<String>) -> Self {
        Self { engine, name: name.into() }
    }

    /// Whether the name can be a voice at all: letters, digits, `_`, `-`, `+`, not starting with `-`, at most 64.
    /// Names reach command lines and Festival's Scheme, so nothing else may pass.
    pub fn is_well_formed(&self) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+');
        (1..=64).contains(&self.name.len()) && !self.name.starts_with('-') && self.name.chars().all(allowed)
    }

    /// The Debian package that brings this voice.
    pub fn package(&self) -> String {
        match self.engine {
            Engine::Festival => match self.name.as_str() {
                "cmu_us_slt_arctic_hts" => "festvox-us-slt-hts".to_owned(),
                "kal_diphone" => "festvox-kallpc16k".to_owned(),
                _ => "festvox-* (see `apt-cache search festvox`)".to_owned(),
            },
            Engine::Flite => "flite".to_owned(),
            Engine::EspeakNg => "espeak-ng-data".to_owned(),
        }
    }
}

/// The voice for each language. What the configuration leaves out has a default: English speaks with Festival's
/// `cmu_us_slt_arctic_hts`, every other language with eSpeak NG's voice of the same code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Voices(BTreeMap<String, Voice>);

impl Voices {
    /// Chooses `voice` for `language` (a BCP 47 tag such as `de` or `pt-br`), in place of the default.
    pub fn set(&mut self, language: &str, voice: Voice) {
        self.0.insert(canonical(language), voice);
    }

    /// The choices that differ from the defaults, by language.
    pub fn chosen(&self) -> impl Iterator<Item = (&str, &Voice)> {
        self.0.iter().map(|(language, voice)| (language.as_str(), voice))
    }

    /// The choice for `language`, the whole tag or its first part; defaults do not count.
    pub fn get(&self, language: &str) -> Option<&Voice> {
        let tag = canonical(language);
        let primary = tag.split('-').next().unwrap_or_default();
        let choice = |wanted: &str| self.0.iter().find(|(language, _)| canonical(language) == wanted);
        choice(&tag).or_else(|| choice(primary)).map(|(_, voice)| voice)
    }

    /// The voice for `language`: the choice for the whole tag, else for its first part, else the default.
    pub fn voice_for(&self, language: &str) -> Voice {
        let tag = canonical(language);
        let primary = tag.split('-').next().unwrap_or_default();
        self.get(language).cloned().unwrap_or_else(|| match primary {
            "en" => Voice::new(Engine::Festival, "cmu_us_slt_arctic_hts"),
            _ => Voice::new(Engine::EspeakNg, tag.clone()),
        })
    }
}

/// Language tags compare without case, and both `pt-BR` and `pt_BR` are common.
fn canonical(language: &str) -> String {
    language.trim().to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_fall_back_to_the_defaults() {
        let mut voices = Voices::default();
        let english = Voice::new(Engine::Festival, "cmu_us_slt_arctic_hts");
        assert_eq!(voices.voice_for("en"), english);
        assert_eq!(voices.voice_for("en_GB"), english);
        assert_eq!(voices.voice_for("de"), Voice::new(Engine::EspeakNg, "de"));
        assert_eq!(voices.voice_for("pt-BR"), Voice::new(Engine::EspeakNg, "pt-br"));

        voices.set("pt", Voice::new(Engine::EspeakNg, "pt+f2"));
        voices.set("en-GB", Voice::new(Engine::Flite, "rms"));
        assert_eq!(voices.voice_for("pt-BR").name, "pt+f2");
        assert_eq!(voices.voice_for("en-gb").name, "rms");
        assert_eq!(voices.voice_for("en"), english);
    }

    #[test]
    fn the_configuration_names_engines_in_kebab_case() {
        let voices: Voices =
            toml::from_str("en-GB = { engine = \"flite\", name = \"slt\" }\nde = { engine = \"espeak-ng\", name = \"de+f3\" }")
                .unwrap();
        assert_eq!(voices.voice_for("en-gb"), Voice::new(Engine::Flite, "slt"));
        assert_eq!(voices.voice_for("de"), Voice::new(Engine::EspeakNg, "de+f3"));
        assert!(toml::from_str::<Voices>("en = { engine = \"piper\", name = \"joe\" }").is_err());
    }

    #[test]
    fn names_that_could_be_code_or_options_are_refused() {
        for name in ["", "-w", "slt) (system \"x\"", "../../etc/x", "http://x/y.flitevox", "a b"] {
            assert!(!Voice::new(Engine::Festival, name).is_well_formed(), "{name}");
        }
        assert!(Voice::new(Engine::EspeakNg, "en-us+f3").is_well_formed());
    }
}
