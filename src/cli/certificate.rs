//! What `conform` does with certificates: gives, signs, checks and compares them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use mxhal_conformance::certificate::agreement::Agreement;
use mxhal_conformance::certificate::signature::{PublicKey, SecretKey, signer};
use mxhal_conformance::certificate::{Certificate, CertificateError, read, write};
use mxhal_conformance::report::{Report, Standing, StateKind, WaiverStanding, text};

use super::failure::FAILED;
use super::print;

#[derive(Args, Debug)]
#[command(next_help_heading = "Certificates")]
pub(super) struct Certificates {
    /// Certify the run, if it passes: its results, and digests of all that is exact
    #[arg(long, value_name = "FILE", conflicts_with_all = ["simulate", "list"])]
    certificate: Option<PathBuf>,

    /// Sign the certificate; the signature is written beside it, to FILE.sig
    #[arg(long, value_name = "KEY", requires = "certificate")]
    key: Option<PathBuf>,

    /// Make a key to sign with, and its public half in KEY.pub, and ask nothing
    #[arg(long, value_name = "KEY", conflicts_with_all = ["certificate", "verify", "agree"])]
    new_key: Option<PathBuf>,

    /// Check a certificate, and with --plugin whether it is of that file, and ask nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "agree"])]
    verify: Option<PathBuf>,

    /// Whose signature the certificate must have
    #[arg(long, value_name = "KEY.pub", requires = "verify")]
    public_key: Option<PathBuf>,

    /// Say whether two certified backends gave the same bits, and if not, where first, and ask nothing
    #[arg(long, value_names = ["FILE", "FILE"], num_args = 2, conflicts_with = "certificate")]
    agree: Option<Vec<PathBuf>>,
}

impl Certificates {
    /// Does what needs no run; `None` where a run is wanted.
    pub(super) fn run(&self, plugin: Option<&Path>) -> anyhow::Result<Option<ExitCode>> {
        if let Some(path) = &self.new_key {
            let public = SecretKey::create(path)?;
            print(&format!(
                "{} signs, and is to be kept; {} is for everybody\n",
                path.display(),
                public.display()
            ))?;
        } else if let Some(path) = &self.verify {
            print(&text::printable(self.verify(path, plugin)?))?;
        } else if let Some([one, other]) = self.agree.as_deref() {
            return agree(one, other).map(Some);
        } else {
            return Ok(None);
        }
        Ok(Some(ExitCode::SUCCESS))
    }

    /// The key to sign with: before a long run that it should not be missing after.
    pub(super) fn secret_key(&self) -> anyhow::Result<Option<SecretKey>> {
        Ok(self.key.as_deref().map(SecretKey::read).transpose()?)
    }

    /// Certifies a run, where that is wanted and it passed.
    pub(super) fn write(&self, report: &Report, key: Option<&SecretKey>) -> anyhow::Result<()> {
        let Some(path) = &self.certificate else { return Ok(()) };
        let certificate = match Certificate::of(report) {
            Err(error @ CertificateError::NotPassed) => {
                eprintln!("{error}");
                return Ok(());
            }
            certificate => certificate?,
        };
        write(&certificate, path)?;
        match key {
            Some(key) => eprintln!("{} is signed by {}", path.display(), key.sign(path)?.display()),
            None => eprintln!("{} is not signed: anyone could have written it; see --key", path.display()),
        }
        Ok(())
    }

    fn verify(&self, path: &Path, plugin: Option<&Path>) -> anyhow::Result<String> {
        let certificate = read(path)?;
        let verdicts = if certificate.judge_again()? {
            "follow from the results"
        } else {
            "not judged again: that takes the suite whose list of cases it is"
        };
        let signed_by = signer(path)?;
        if let Some(wanted) = self.public_key.as_deref().map(PublicKey::read).transpose()? {
            match &signed_by {
                Some(key) if *key == wanted => {}
                Some(key) => {
                    bail!(not_signed(
                        path,
                        format!("it is signed by {}, and not by {}", key.name(), wanted.name())
                    ))
                }
                None => {
                    bail!(not_signed(path, format!("it is not signed by {}, nor by anyone", wanted.name())))
                }
            }
        }
        if let Some(plugin) = plugin {
            certificate.expect_plugin(plugin)?;
        }
        let signature = match (&signed_by, &self.public_key) {
            (Some(key), Some(_)) => format!("by {}, as it should be", key.name()),
            (Some(key), None) => {
                format!("by {}; --public-key says whether you know whose that is", key.name())
            }
            (None, _) => "none: anyone could have written it".to_owned(),
        };
        let of_plugin = plugin.map_or(String::new(), |path| format!(", which is {}", path.display()));
        Ok(words(&certificate, &signature, verdicts, &of_plugin))
    }
}

fn not_signed(path: &Path, problem: String) -> CertificateError {
    CertificateError::Signature { path: path.to_owned(), problem }
}

fn words(certificate: &Certificate, signature: &str, verdicts: &str, of_plugin: &str) -> String {
    let Certificate { suite, plugin, device, seed, .. } = certificate;
    let counts: Vec<String> = StateKind::ALL
        .into_iter()
        .map(|kind| (certificate.count(kind), kind.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let met: Vec<&str> = certificate
        .profiles
        .iter()
        .filter(|verdict| verdict.standing == Standing::Met)
        .map(|verdict| verdict.profile.name())
        .collect();
    let waivers =
        certificate.waivers.iter().filter(|waiver| waiver.standing == WaiverStanding::InForce).count();
    let list = if certificate.is_of_this_suite() {
        "the list of this program"
    } else {
        "another list than this program's"
    };
    let part = if plugin.embedded { "in a program" } else { "in a file" };
    format!(
        "plugin     {} {} by {}, {part} with sha256 {}{of_plugin}\n\
         device     {} ({}), driver {}\n\
         suite      {}, {} of {} cases, {list}, seed {seed}\n\
         results    {}\n\
         profiles   {}\n\
         verdicts   {verdicts}\n\
         waivers    {waivers} in force\n\
         digests    {}\n\
         signature  {signature}\n\
         VALID: whole and unchanged\n",
        plugin.name,
        plugin.version,
        plugin.vendor,
        plugin.sha256,
        device.name,
        device.architecture,
        device.driver,
        suite.version,
        certificate.results.len(),
        suite.cases,
        counts.join(", "),
        if met.is_empty() { "none met".to_owned() } else { format!("{} met", met.join(", ")) },
        certificate.results.iter().filter(|case| case.digest.is_some()).count(),
    )
}

fn agree(one: &Path, other: &Path) -> anyhow::Result<ExitCode> {
    let (one, other) = (read(one)?, read(other)?);
    let agreement = Agreement::of(&one, &other)?;
    let who = |of: &Certificate| format!("{} {} on {}", of.plugin.name, of.plugin.version, of.device.name);
    let mut words = format!(
        "{}\n{}\n{} exact cases agree, {} differ, {} are of one alone\n",
        who(&one),
        who(&other),
        agreement.agreed,
        agreement.differing.len(),
        agreement.one_sided
    );
    if let Some(first) = agreement.differing.first() {
        words += &format!("first: {}\n  {}\n  {}\n", first.case, first.one, first.other);
    }
    words += if agreement.holds() { "AGREE\n" } else { "DIFFER\n" };
    print(&text::printable(words))?;
    Ok(if agreement.holds() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
