//! The throwaway token of `dev`: a SoftHSM2 store below the folder, with a random PIN as a credential file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::certs;

use crate::dev::told;
use crate::failure::{Failure, Kind};

/// Where Debian puts the module.
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Label of the token.
pub(crate) const TOKEN: &str = "strongroom-dev";
/// Labels of the tokens that keep a shard each.
pub(crate) const SHARD_TOKENS: [&str; 3] = ["strongroom-dev-1", "strongroom-dev-2", "strongroom-dev-3"];
/// Name of the PIN's credential.
pub(crate) const PIN_CREDENTIAL: &str = "hsm-pin";

/// Paths of the token's parts below one folder.
pub(crate) struct DevToken {
    root: PathBuf,
}

impl DevToken {
    /// The token below `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { root: dir.to_owned() }
    }

    /// What `SOFTHSM2_CONF` must name.
    pub(crate) fn conf(&self) -> PathBuf {
        self.root.join("softhsm2.conf")
    }

    /// What `CREDENTIALS_DIRECTORY` must name.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.root.join("credentials")
    }

    /// Makes store, tokens of these labels and their PIN unless they are there.
    pub(crate) fn ensure(&self, labels: &[&str]) -> Result<(), Failure> {
        let pin_file = self.credentials().join(PIN_CREDENTIAL);
        if pin_file.exists() {
            return Ok(());
        }
        if !Path::new(MODULE).exists() {
            return Err(Failure::failed(format!("{MODULE} is missing: apt-get install softhsm2")));
        }
        let tokens = self.root.join("tokens");
        // Left by a start that was cut off before the PIN was written: nobody can open it.
        let _nothing_there = fs::remove_dir_all(&tokens);
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        let written =
            fs::create_dir_all(&tokens).and_then(|()| fs::create_dir_all(self.credentials())).and_then(|()| fs::write(self.conf(), text));
        written.map_err(told(self.root.display()))?;
        let pin = random_pin()?;
        for label in labels {
            // The tool takes PINs as arguments or from a terminal, and from nowhere else: for a throwaway token arguments will do.
            let made = Command::new("softhsm2-util")
                .env("SOFTHSM2_CONF", self.conf())
                .args(["--init-token", "--free", "--label", label, "--so-pin", &random_pin()?, "--pin", &pin])
                .output()
                .map_err(told("softhsm2-util cannot be started (apt-get install softhsm2)"))?;
            if !made.status.success() {
                return Err(Failure::failed(format!("softhsm2-util failed: {}", String::from_utf8_lossy(&made.stderr).trim())));
            }
        }
        certs::write_private(&pin_file, pin.as_bytes()).map_err(|error| Failure::of(Kind::Failed, &error))
    }
}

fn random_pin() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(told("no randomness"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
