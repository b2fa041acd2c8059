//! Texts of others, shown and told apart.

use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// So much of a text of somebody else is shown.
const SHOWN: usize = 60;

/// What others wrote may be long; what we say about it is not.
pub(crate) fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    start.escape_debug().to_string()
}

/// A number that stands for `texts`, whatever is in them: it is another when one has changed.
pub(crate) fn fingerprint<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> u64 {
    let mut hasher = SipHasher24::new();
    for text in texts {
        hasher.write(text.as_ref());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}
