//! Values as people say them: times of day per language, codes letter by letter.

use jiff::civil::{DateTime, Time};

/// The time of day in `14:30`, `14:30:00` or a date and time such as `2026-03-01T14:30:00+01:00`, whose own wall time
/// counts. `None` for anything else, in particular for a time in UTC (`Z`), which says nothing about the customer's clock.
pub fn time_of_day(value: &str) -> Option<Time> {
    let value = value.trim();
    let bare = value.len() <= 8 && value.contains(':');
    if bare {
        let mut parts =
            value.split(':').map(|part| (1..=2).contains(&part.len()).then(|| part.parse::<i8>().ok())?);
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next().unwrap_or(Some(0))?;
        return parts.next().is_none().then(|| Time::new(hour, minute, second, 0).ok())?;
    }
    value.parse::<DateTime>().ok().map(DateTime::time)
}

/// A time of day in words of the language, to be used as: en "at {eta}", es "a {eta}", de "um {eta}", fr "à {eta}".
///
/// Another language gets `14:30`, which its voice reads as it can.
pub fn say_time(time: Time, language: &str) -> String {
    let (hour, minute) = (time.hour(), time.minute());
    match language.split('-').next().unwrap_or(language) {
        "en" => english(hour, minute),
        "es" => spanish(hour, minute),
        "de" => german(hour, minute),
        "fr" => french(hour, minute),
        _ => format!("{hour}:{minute:02}"),
    }
}

/// Letters and digits one by one: `AB-12` is `A B 1 2`.
pub fn spell(value: &str) -> String {
    let letters = value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase);
    letters.map(String::from).collect::<Vec<_>>().join(" ")
}

const ENGLISH: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

fn english(hour: i8, minute: i8) -> String {
    match (hour, minute) {
        (0, 0) => return "midnight".to_owned(),
        (12, 0) => return "noon".to_owned(),
        _ => {}
    }
    let word = |n: i8| ENGLISH.get(usize::from(n.unsigned_abs())).copied().unwrap_or_default();
    let clock = word(if hour % 12 == 0 { 12 } else { hour % 12 });
    let part = match hour {
        0..12 => "in the morning",
        12..18 => "in the afternoon",
        _ => "in the evening",
    };
    let tens = ["", "", "twenty", "thirty", "forty", "fifty"].get(usize::from((minute / 10).unsigned_abs()));
    let minutes = match minute {
        0 => " o'clock".to_owned(),
        1..10 => format!(" oh {}", word(minute)),
        10..20 => format!(" {}", word(minute)),
        _ if minute % 10 == 0 => format!(" {}", tens.unwrap_or(&"")),
        _ => format!(" {} {}", tens.unwrap_or(&""), word(minute % 10)),
    };
    format!("{clock}{minutes} {part}")
}

const SPANISH: [&str; 30] = [
    "cero",
    "uno",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "nueve",
    "diez",
    "once",
    "doce",
    "trece",
    "catorce",
    "quince",
    "dieciséis",
    "diecisiete",
    "dieciocho",
    "diecinueve",
    "veinte",
    "veintiuno",
    "veintidós",
    "veintitrés",
    "veinticuatro",
    "veinticinco",
    "veintiséis",
    "veintisiete",
    "veintiocho",
    "veintinueve",
];

/// With its article, because one o'clock is *la* una and all others are *las*.
fn spanish(hour: i8, minute: i8) -> String {
    let word = |n: i8| SPANISH.get(usize::from(n.unsigned_abs())).copied().unwrap_or_default();
    let clock = match hour % 12 {
        1 => "la una".to_owned(),
        0 => "las doce".to_owned(),
        hour => format!("las {}", word(hour)),
    };
    let minutes = match minute {
        0 => String::new(),
        15 => " y cuarto".to_owned(),
        30 => " y media".to_owned(),
        1..30 => format!(" y {}", word(minute)),
        _ => {
            let tens = ["", "", "", "treinta", "cuarenta", "cincuenta"]
                .get(usize::from((minute / 10).unsigned_abs()));
            match minute % 10 {
                0 => format!(" y {}", tens.unwrap_or(&"")),
                ones => format!(" y {} y {}", tens.unwrap_or(&""), word(ones)),
            }
        }
    };
    let part = match hour {
        0..6 => "de la madrugada",
        6..12 => "de la mañana",
        12 => "del mediodía",
        13..20 => "de la tarde",
        _ => "de la noche",
    };
    format!("{clock}{minutes} {part}")
}

fn german(hour: i8, minute: i8) -> String {
    let clock = if hour == 1 { "ein".to_owned() } else { hour.to_string() };
    if minute == 0 { format!("{clock} Uhr") } else { format!("{clock} Uhr {minute}") }
}

fn french(hour: i8, minute: i8) -> String {
    let clock = match hour {
        0 => "minuit".to_owned(),
        1 => "une heure".to_owned(),
        12 => "midi".to_owned(),
        21 => "vingt et une heures".to_owned(),
        _ => format!("{hour} heures"),
    };
    match minute {
        0 => clock,
        1 => format!("{clock} une"),
        21 => format!("{clock} vingt et une"),
        31 => format!("{clock} trente et une"),
        41 => format!("{clock} quarante et une"),
        51 => format!("{clock} cinquante et une"),
        _ => format!("{clock} {minute}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_four_languages() {
        let cases = [
            ("en", "14:30", "two thirty in the afternoon"),
            ("en-GB", "09:05", "nine oh five in the morning"),
            ("en", "12:00", "noon"),
            ("en", "00:15", "twelve fifteen in the morning"),
            ("en", "18:00", "six o'clock in the evening"),
            ("en", "10:47", "ten forty seven in the morning"),
            ("es", "13:30", "la una y media de la tarde"),
            ("es", "14:15", "las dos y cuarto de la tarde"),
            ("es-MX", "09:42", "las nueve y cuarenta y dos de la mañana"),
            ("es", "12:00", "las doce del mediodía"),
            ("es", "20:05", "las ocho y cinco de la noche"),
            ("de", "14:30", "14 Uhr 30"),
            ("de", "01:00", "ein Uhr"),
            ("fr", "21:21", "vingt et une heures vingt et une"),
            ("fr", "14:30", "14 heures 30"),
            ("fr", "12:00", "midi"),
            ("pl", "14:05", "14:05"),
        ];
        for (language, time, words) in cases {
            assert_eq!(say_time(time_of_day(time).unwrap(), language), words, "{language} {time}");
        }
    }

    #[test]
    fn every_minute_has_words() {
        for language in ["en", "es", "de", "fr"] {
            let mut said = std::collections::BTreeSet::new();
            for minute in 0..1440_i16 {
                let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).unwrap();
                let words = say_time(time, language);
                assert!(!words.contains("  ") && words.trim() == words, "{words:?}");
                assert!(said.insert(words.clone()), "{language} {time} is said like another time: {words}");
            }
        }
    }

    #[test]
    fn reads_times_and_refuses_others() {
        let hm = |value: &str| time_of_day(value).map(|time| (time.hour(), time.minute()));
        assert_eq!(hm("9:05"), Some((9, 5)));
        assert_eq!(hm("14:30:59"), Some((14, 30)));
        assert_eq!(hm("2026-03-01T14:30:00+01:00"), Some((14, 30)));
        assert_eq!(hm("2026-03-01 14:30"), Some((14, 30)));
        for bad in [
            "",
            "14",
            "24:00",
            "14:60",
            "soon",
            "1:2:3:4",
            "-1:30",
            "14:3x",
            "2026-03-01T14:30:00Z",
            "14:",
            ":",
        ] {
            assert_eq!(hm(bad), None, "{bad}");
        }
    }

    #[test]
    fn spells_codes() {
        assert_eq!(spell("ab-12"), "A B 1 2");
        assert_eq!(spell("— "), "");
    }
}
