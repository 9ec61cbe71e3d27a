//! What a lexicon demands of a record: the schemas that `build.rs` makes of the files in `lexicons/`.

use skyweir_types::Format;

/// A record, or an object with a name.
#[derive(Debug)]
pub(crate) struct Object {
    /// The `$type`: obligatory for records and members of unions, else it may be absent but not another.
    pub(crate) name: &'static str,
    /// The known fields. Others are legal, whatever they hold.
    pub(crate) fields: &'static [Field],
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// It may not be absent. A null is not the same as absence: it never passes.
    pub(crate) required: bool,
    pub(crate) schema: Schema,
}

/// What a value has to be.
#[derive(Debug)]
pub(crate) enum Schema {
    /// A number in this range.
    Integer { least: i64, most: i64 },
    /// A text of at most so many bytes and extended grapheme clusters.
    Text { bytes: usize, graphemes: usize, format: Option<Format> },
    /// A reference to a blob of one of these media types (`image/*` stands for all images) and at most this size, bytes.
    Blob { accept: &'static [&'static str], size: i64 },
    /// A list of at most so many items.
    Array { items: &'static Schema, most: usize },
    /// An object.
    Object(&'static Object),
    /// An object whose `$type` says which of these it is. It may name any other: then nothing more is known of it.
    OpenUnion(&'static [&'static Object]),
}
