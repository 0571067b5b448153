//! The sheet that a person keeps: an encrypted shard as text, as a QR code and as a picture. Nothing on it is secret.

use daemon::admin::types::{ShardInfo, SplitInfo};
use data_encoding::{BASE64, Specification};
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};

use crate::failure::Failure;
use crate::output::{clean, pairs};

/// Characters of a line of an armored age file.
const LINE_CHARACTERS: usize = 64;
/// Of the picture, in millimetres: a page of A4, its margin, a line of text, a module of the code, a letter.
const PAGE: (f64, f64) = (210.0, 297.0);
const MARGIN: f64 = 18.0;
const LINE: f64 = 4.6;
const MODULE: f64 = 1.0;
const FONT: f64 = 2.9;

/// What stands between the hyphens of a block.
const AGE_ARMOR: &str = "AGE ENCRYPTED FILE";
pub(crate) const SHARD_ARMOR: &str = "STRONGROOM SHARD";
const BY_AGE: &str = "\
and open it on a machine of your own:
    age --decrypt --identity YOUR-KEY FILE
Then enter the line that it prints, which begins with SRSHARD1, where you are asked by:
    strongroom unseal --shard-prompt
";
const BY_CARD: &str = "\
and open it with your card, whose PIN you are asked for:
    strongroom unseal --shard FILE --card MODULE --token LABEL
MODULE is the PKCS#11 module of the card; `pkcs11-tool --module MODULE -L` prints the LABEL.
";

/// What a person gets.
pub(crate) struct Sheet {
    /// The encrypted shard, armored.
    pub(crate) armored: String,
    head: String,
    /// What its keeper does with it.
    opening: &'static str,
    code: QrCode,
}

impl Sheet {
    /// The sheet of one shard.
    ///
    /// # Errors
    /// The node's answer is not what this release expects.
    pub(crate) fn new(split: &SplitInfo, shard: &ShardInfo) -> Result<Self, Failure> {
        let unreadable = |what: String| Failure::failed(format!("the shard of {} cannot be printed: {what}", clean(&shard.keeper)));
        let (base64, name, opening) = match &shard.card_file {
            Some(file) => (file.as_str(), SHARD_ARMOR, BY_CARD),
            None => (shard.age_file.as_deref().unwrap_or_default(), AGE_ARMOR, BY_AGE),
        };
        let file = BASE64.decode(base64.as_bytes());
        let armored = armored(name, &file.map_err(|error| unreadable(error.to_string()))?)?;
        let code = QrCode::with_error_correction_level(&armored, EcLevel::M).map_err(|error| unreadable(error.to_string()))?;
        let rows = [
            ("shard", format!("{} of {}; any {} open the slot", shard.point, split.shards.len(), split.threshold)),
            ("keeper", clean(&shard.keeper)),
            ("region", shard.region.as_deref().map_or_else(|| "-".to_owned(), clean)),
            ("slot", format!("{} ({})", clean(&split.label), split.slot)),
            ("cluster", split.cluster.clone()),
            ("made", split.created.clone()),
            ("recipient", shard.recipient.clone().unwrap_or_default()),
            ("digest", shard.plain_sha3_256.clone()),
        ];
        Ok(Self { armored, head: pairs(&rows), opening, code })
    }

    fn text(&self) -> String {
        let Self { head, armored, opening, .. } = self;
        format!(
            "STRONGROOM SHARD\n\n{head}\n{armored}\n\
             To give it, put the block above into a file, from here or from the code below,\n\
             {opening}"
        )
    }

    /// As text, the code in half blocks.
    pub(crate) fn printed(&self) -> String {
        format!("{}\n{}\n", self.text(), self.code.render::<Dense1x2>().build())
    }

    /// As a picture of one page, in SVG.
    pub(crate) fn svg(&self) -> String {
        let (width, height) = PAGE;
        let mut y = MARGIN;
        let mut lines = String::new();
        for line in self.text().lines() {
            lines.push_str(&format!("<text x=\"{MARGIN}\" y=\"{y:.1}\" xml:space=\"preserve\">{}</text>\n", escaped(line)));
            y += LINE;
        }
        let side = self.code.width();
        let mut modules = String::new();
        for (at, color) in self.code.to_colors().into_iter().enumerate() {
            if color == Color::Dark {
                modules.push_str(&format!("M{} {}h1v1h-1z", at % side, at / side));
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" viewBox=\"0 0 {width} {height}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <g font-family=\"monospace\" font-size=\"{FONT}\">\n{lines}</g>\n\
             <path transform=\"translate({MARGIN} {y:.1}) scale({MODULE})\" d=\"{modules}\"/>\n</svg>\n"
        )
    }
}

/// A file as text.
fn armored(name: &str, file: &[u8]) -> Result<String, Failure> {
    let mut form = Specification::new();
    form.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    form.padding = Some('=');
    form.wrap.width = LINE_CHARACTERS;
    form.wrap.separator.push('\n');
    let form = form.encoding().map_err(|error| Failure::failed(error.to_string()))?;
    Ok(format!("-----BEGIN {name}-----\n{}-----END {name}-----\n", form.encode(file)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(region: Option<&str>) -> Sheet {
        sheet_of(shard(region))
    }

    /// For the longest key that a card may have.
    fn card_sheet() -> Sheet {
        let recipient = Some(format!("sha256:{}", "cd".repeat(32)));
        sheet_of(ShardInfo { kind: "card".to_owned(), recipient, age_file: None, card_file: Some(BASE64.encode(&[7; 549])), ..shard(None) })
    }

    fn shard(region: Option<&str>) -> ShardInfo {
        ShardInfo {
            point: 2,
            keeper: "ben".to_owned(),
            region: region.map(str::to_owned),
            kind: "age".to_owned(),
            recipient: Some("age1xyz".to_owned()),
            plain_sha3_256: "ab".repeat(32),
            age_file: Some(BASE64.encode(&[7; 366])),
            card_file: None,
        }
    }

    fn sheet_of(shard: ShardInfo) -> Sheet {
        let split = SplitInfo {
            slot: "s1".to_owned(),
            label: "board <1> & co".to_owned(),
            cluster: "c1".to_owned(),
            created: "2026-01-02T03:04:05Z".to_owned(),
            threshold: 3,
            is_pending: false,
            shards: vec![shard.clone(); 5],
        };
        Sheet::new(&split, &shard).expect("it has a file")
    }

    #[test]
    fn a_sheet_says_whose_it_is_and_what_to_do_with_it() {
        let text = sheet(Some("vault")).printed();
        for words in
            ["2 of 5; any 3 open", "ben", "vault", "-----BEGIN AGE ENCRYPTED FILE-----\nBwcH", "age --decrypt", "unseal --shard-prompt"]
        {
            assert!(text.contains(words), "{words} in\n{text}");
        }
        assert!(text.lines().filter(|line| line.contains('▀') || line.contains('█')).count() > 40, "{text}");
    }

    #[test]
    fn a_sheet_for_a_card_says_how_the_card_opens_it() {
        let text = card_sheet().printed();
        for words in ["-----BEGIN STRONGROOM SHARD-----\nBwcH", "unseal --shard FILE --card MODULE --token LABEL", "sha256:cdcd"] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
        assert!(!text.contains("age --decrypt"), "{text}");
    }

    #[test]
    fn a_picture_is_one_page_and_every_text_in_it_is_text() {
        let svg = sheet(None).svg();
        assert!(svg.contains("board &lt;1&gt; &amp; co") && svg.contains("viewBox=\"0 0 210 297\""), "{svg}");
        for sheet in [sheet(None), card_sheet()] {
            // The code and the text above it fit.
            let code = sheet.code.width() as f64 * MODULE;
            let above = MARGIN + sheet.text().lines().count() as f64 * LINE;
            // A character of a fixed pitch is 0.6 of its size wide.
            assert!(sheet.text().lines().all(|line| line.chars().count() as f64 * FONT * 0.6 < PAGE.0 - 2.0 * MARGIN));
            assert!(above + code < PAGE.1 && 2.0 * MARGIN + code < PAGE.0, "{above} and {code}");
        }
    }

    #[test]
    fn an_armored_file_has_lines_of_64_characters() {
        let text = armored(AGE_ARMOR, &[7; 100]).expect("it has a form");
        assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----END AGE ENCRYPTED FILE-----\n"), "{text}");
        assert_eq!(text.lines().nth(1).map(str::len), Some(64));
    }
}
