//! The Debian package: what the programs say of themselves, a bill of their materials, and cargo-deb, which puts it all together.
//!
//! What goes where stands in `daemon/Cargo.toml`. Nothing in a package tells when or where it was made: two of the same tree are the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::command::{cargo, run, shown};
use crate::packages;
use crate::runner::BUILT;
use crate::tools::Tools;
use crate::workspace::{Workspace, target_directory};

/// What the bills of materials are called while they lie where their tool writes them, beside the manifests.
const BILL: &str = "strongroom-sbom";

/// How the programs are built.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As they are shipped.
    Release,
    /// As tests have them: built already, three times as large.
    Dev,
}

impl Profile {
    /// The folder below cargo's target directory.
    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }
}

/// Programs that are built, and what a package is made of beside them.
pub(crate) struct Packer<'w> {
    workspace: &'w Workspace,
    /// Cargo's target directory.
    target: &'w Path,
    profile: Profile,
    tools: Tools,
    /// Seconds since 1970 that stand for the time of everything in the package.
    epoch: String,
}

impl<'w> Packer<'w> {
    /// Installs the tools.
    pub(crate) fn new(workspace: &'w Workspace, target: &'w Path, profile: Profile) -> Result<Self> {
        Ok(Self { workspace, target, profile, tools: Tools::install(target)?, epoch: epoch()? })
    }

    /// Packs another tree, whose programs are built for tests below `target`.
    pub(crate) fn of<'o>(&self, workspace: &'o Workspace, target: &'o Path) -> Packer<'o> {
        Packer { workspace, target, profile: Profile::Dev, tools: self.tools.clone(), epoch: self.epoch.clone() }
    }

    /// Makes `strongroom_VERSION_amd64.deb` in `output` and returns its path.
    ///
    /// - `version`: of the package, where it is not the workspace's.
    pub(crate) fn pack(&self, output: &Path, version: Option<&str>) -> Result<PathBuf> {
        let version = version.map_or_else(|| self.workspace.version(), |version| Ok(version.to_owned()))?;
        let written = self.target.join(self.profile.folder()).join("package");
        if written.exists() {
            fs::remove_dir_all(&written).with_context(|| format!("{} cannot be emptied", written.display()))?;
        }
        self.write_manuals(&written.join("man"))?;
        self.write_completions(&written)?;
        self.write_changelog(&written.join("changelog"), &version)?;
        self.write_bills(&written)?;
        fs::create_dir_all(output).with_context(|| format!("{} cannot be made", output.display()))?;
        let path = output.join(format!("strongroom_{version}_{}.deb", architecture()?));
        let mut deb = self.tools.command("cargo-deb");
        deb.args(["--quiet", "--locked", "--no-build", "--manifest-path=daemon/Cargo.toml", "--strip", "--profile", self.profile.name()]);
        if self.profile == Profile::Dev {
            // Nobody keeps it.
            deb.arg("--fast");
        }
        deb.args(["--deb-version", &version, "--output"]).arg(&path);
        run(self.fixed(&mut deb))?;
        Ok(path)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.target.join(self.profile.folder()).join(name)
    }

    fn write_manuals(&self, folder: &Path) -> Result<()> {
        for (program, section) in [("strongroom", "man1"), ("strongroomd", "man8")] {
            let folder = folder.join(section);
            fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            run(Command::new(self.program(program)).arg("man").arg(&folder))?;
            let pages = fs::read_dir(&folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
            compress(&pages.with_context(|| format!("{} cannot be read", folder.display()))?)?;
        }
        Ok(())
    }

    fn write_completions(&self, folder: &Path) -> Result<()> {
        for (shell, name) in [("bash", "strongroom"), ("zsh", "_strongroom"), ("fish", "strongroom.fish")] {
            let path = folder.join(shell).join(name);
            fs::create_dir_all(folder.join(shell)).with_context(|| format!("{} cannot be made", folder.display()))?;
            write(&path, &output(Command::new(self.program("strongroom")).args(["completions", shell]))?)?;
        }
        Ok(())
    }

    /// Debian's own form, with nothing but the way to the one that people read.
    fn write_changelog(&self, path: &Path, version: &str) -> Result<()> {
        let date = output(Command::new("date").args(["--utc", "--rfc-email", "--date", &format!("@{}", self.epoch)]))?;
        let maintainer = self.workspace.maintainer()?;
        let text = format!(
            "strongroom ({version}) stable; urgency=medium\n\n  * What operators will notice, or must do, is in CHANGELOG.md here.\n\n -- {maintainer}  {}\n",
            date.trim()
        );
        write(path, &text)?;
        compress(&[path.to_owned()])
    }

    /// One bill for the daemon and the command line, one for the device process. Their tool writes one beside each manifest; the others are taken away.
    fn write_bills(&self, folder: &Path) -> Result<()> {
        let mut bill = self.tools.command("cargo-cyclonedx");
        bill.args(["cyclonedx", "--quiet", "--format=json", "--spec-version=1.5", "--manifest-path=daemon/Cargo.toml"]);
        run(self.fixed(bill.args(["--override-filename", BILL])))?;
        let root = format!("file://{}", self.workspace.root.display());
        for member in &self.workspace.members {
            let path = self.workspace.root.join(&member.folder).join(BILL).with_extension("json");
            let text = fs::read_to_string(&path).with_context(|| format!("{} was not written", path.display()))?;
            fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
            let shipped = match member.name.as_str() {
                "daemon" => "strongroom.cdx.json",
                "hsm-helper" => "strongroom-device.cdx.json",
                _ => continue,
            };
            // Where it was built is nobody's business.
            write(&folder.join(shipped), &text.replace(&root, "file:///strongroom"))?;
        }
        Ok(())
    }

    /// The same in each run of a tool.
    fn fixed<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.current_dir(&self.workspace.root).env("SOURCE_DATE_EPOCH", &self.epoch).env("CARGO_TARGET_DIR", self.target)
    }
}

/// Installs missing packages, builds, then makes the package; with `twice` from a second build in a folder of its own, too, and compares.
pub(crate) fn make(workspace: &Workspace, profile: Profile, output: Option<&Path>, twice: bool) -> Result<()> {
    packages::install()?;
    let target = target_directory()?;
    let output = output.map_or_else(|| target.join("debian"), Path::to_owned);
    build(workspace, &target, profile)?;
    let packer = Packer::new(workspace, &target, profile)?;
    let path = packer.pack(&output, None)?;
    if twice {
        let second = target.join("twice");
        build(workspace, &second, profile)?;
        same(&path, &Packer { target: &second, ..packer }.pack(&second.join("debian"), None)?)?;
    }
    println!("{}", path.display());
    Ok(())
}

/// Makes the package of programs that are built for tests, twice, and compares. Returns its path.
pub(crate) fn checked(workspace: &Workspace, target: &Path) -> Result<PathBuf> {
    let packer = Packer::new(workspace, target, Profile::Dev)?;
    let output = target.join("debian");
    let first = packer.pack(&output.join("first"), None)?;
    let path = packer.pack(&output, None)?;
    same(&first, &path)?;
    Ok(path)
}

/// Builds the programs into `target`, for [`Packer`].
pub(crate) fn build(workspace: &Workspace, target: &Path, profile: Profile) -> Result<()> {
    let mut build = cargo(["build", "--locked"]);
    build.env("CARGO_TARGET_DIR", target);
    match profile {
        // As everything else of the gate, or some dependencies would be built once more.
        Profile::Dev => build.args(BUILT).arg("--bins"),
        Profile::Release => build.args(["--release", "--package=daemon", "--package=hsm-helper", "--bins"]).env(
            "RUSTFLAGS",
            // Messages of panics name files.
            remapped(&[(&workspace.root, "/strongroom"), (target, "/target"), (&cargo_home()?, "/cargo")]),
        ),
    };
    run(&mut build)
}

/// Whether two packages are the same bytes; else what to compare them by.
pub(crate) fn same(first: &Path, second: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let is_same = read(first)? == read(second)?;
    ensure!(is_same, "two packages of one tree differ: `diffoscope {} {}` says in what", first.display(), second.display());
    println!("{} and {} are the same", first.display(), second.display());
    Ok(())
}

fn remapped(folders: &[(&Path, &str)]) -> String {
    folders.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect::<Vec<_>>().join(" ")
}

fn cargo_home() -> Result<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("neither CARGO_HOME nor HOME is set")
}

/// As Debian asks of what is read by `man`; without a time in the header.
fn compress(files: &[PathBuf]) -> Result<()> {
    let mut gzip = Command::new("gzip");
    let status = gzip.args(["--best", "--no-name", "--force"]).args(files).status().context("gzip cannot be started")?;
    ensure!(status.success(), "gzip ended with {status}");
    Ok(())
}

/// When the tree was last changed, or what the environment has instead.
fn epoch() -> Result<String> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => Ok(epoch),
        Err(_) => Ok(output(Command::new("git").args(["log", "-1", "--format=%ct"]))
            .context("this is no git checkout: set SOURCE_DATE_EPOCH to the seconds since 1970 of the release")?
            .trim()
            .to_owned()),
    }
}

/// What Debian calls this machine's architecture.
pub(crate) fn architecture() -> Result<String> {
    Ok(output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    ensure!(output.status.success(), "`{}` ended with {}: {}", shown(command), output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no text", shown(command)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_differ_in_a_byte_are_told() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = |name: &str| folder.path().join(name);
        for (name, bytes) in [("a", "1"), ("b", "1"), ("c", "2")] {
            fs::write(path(name), bytes).expect("the folder takes a file");
        }
        assert!(same(&path("a"), &path("b")).is_ok());
        let error = same(&path("a"), &path("c")).expect_err("they differ").to_string();
        assert!(error.contains("diffoscope"), "{error}");
        assert!(same(&path("a"), &path("absent")).is_err());
    }

    #[test]
    fn each_folder_of_the_builder_gets_another_name() {
        let flags = remapped(&[(Path::new("/home/a/src"), "/strongroom"), (Path::new("/t"), "/target")]);
        assert_eq!(flags, "--remap-path-prefix=/home/a/src=/strongroom --remap-path-prefix=/t=/target");
    }
}
