//! Single values of the file. Each knows how to be read, what to write instead, and its schema.

mod address;
mod number;
mod text;
mod time;
mod words;

pub(crate) use address::{Sources, VipWord};
pub(crate) use number::Number;
pub(crate) use text::{
    AbsolutePath, EtcdKey, HeaderValue, Hex, HttpToken, Label, LinkName, Name, NamePattern, UrlPath,
    WebAddress, WebUrl,
};
pub use time::duration;
pub(crate) use time::{Time, show_duration};
pub(crate) use words::{CheckType, OnDownWord, Profile, Record, TrackWord};
