//! Compiles the lexicons in `lexicons/` to constants of the types in `src/decode/lexicon/schema.rs`.
//!
//! At build time, so that a lexicon that the check doesn't fully know never starts, and decoding begins without a step of
//! preparation. Schemas become `static`s that refer to each other by name.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde_json::{Map, Value};

/// Numbers of the data model are those that a double holds exactly.
const LARGEST: i64 = (1 << 53) - 1;

type Json = Map<String, Value>;

fn main() {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("lexicons");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of lexicons")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let mut code = String::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a readable lexicon");
        let lexicon: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let id = lexicon["id"].as_str().expect("a lexicon has an id");
        for (name, definition) in lexicon["defs"].as_object().expect("a lexicon has definitions") {
            let definition = definition.as_object().expect("a definition is an object");
            Definition { id, at: format!("{id}#{name}") }.compile(definition, &mut code);
        }
    }
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("lexicons.rs");
    fs::write(out, code).expect("cargo's folder is writable");
}

/// Where in the lexicons we are, for names and complaints.
struct Definition<'l> {
    id: &'l str,
    at: String,
}

impl Definition<'_> {
    fn compile(&self, definition: &Json, code: &mut String) {
        let object = match self.text(definition, "type") {
            "record" => {
                self.knows(definition, &["type", "key", "record"]);
                definition["record"].as_object().expect("a record has an object")
            }
            _ => definition,
        };
        assert_eq!(self.text(object, "type"), "object", "{}: only objects and records have names", self.at);
        self.knows(object, &["type", "required", "properties"]);
        let required = object["required"].as_array().expect("every object of ours demands something");
        assert!(!required.is_empty(), "{}: a link in JSON would pass as this object", self.at);
        let mut fields = String::new();
        for (name, schema) in object["properties"].as_object().expect("an object has properties") {
            let required = required.contains(&Value::from(name.as_str()));
            let schema = self.schema(schema.as_object().expect("a schema is an object"));
            let _ = writeln!(fields, "Field {{ name: {name:?}, required: {required}, schema: {schema} }},");
        }
        let (constant, name) = (constant(&self.at), self.at.trim_end_matches("#main"));
        let _ = writeln!(
            code,
            "pub(crate) static {constant}: Object = Object {{ name: {name:?}, fields: &[{fields}] }};"
        );
    }

    fn schema(&self, schema: &Json) -> String {
        match self.text(schema, "type") {
            "integer" => {
                self.knows(schema, &["type", "minimum", "maximum"]);
                let (least, most) =
                    (self.number(schema, "minimum", -LARGEST), self.number(schema, "maximum", LARGEST));
                format!("Schema::Integer {{ least: {least}, most: {most} }}")
            }
            "string" => {
                // known values are a hint: others are legal
                self.knows(schema, &["type", "maxLength", "maxGraphemes", "format", "knownValues"]);
                let bytes = self.number(schema, "maxLength", LARGEST);
                let graphemes = self.number(schema, "maxGraphemes", LARGEST);
                let format =
                    schema.get("format").map(|format| self.format(format.as_str().unwrap_or_default()));
                format!("Schema::Text {{ bytes: {bytes}, graphemes: {graphemes}, format: {format:?} }}")
                    .replace('"', "")
            }
            "blob" => {
                self.knows(schema, &["type", "accept", "maxSize"]);
                let accept = schema["accept"].as_array().expect("a blob says what it accepts");
                let size = self.number(schema, "maxSize", LARGEST);
                format!("Schema::Blob {{ accept: &{accept:?}, size: {size} }}").replace("String(", "(")
            }
            "array" => {
                self.knows(schema, &["type", "items", "maxLength"]);
                let items = self.schema(schema["items"].as_object().expect("an array has items"));
                let most = self.number(schema, "maxLength", LARGEST);
                format!("Schema::Array {{ items: &{items}, most: {most} }}")
            }
            "ref" => {
                self.knows(schema, &["type", "ref"]);
                format!("Schema::Object(&{})", self.named(&schema["ref"]))
            }
            "union" => {
                // a closed union would have to refuse what it doesn't know
                self.knows(schema, &["type", "refs"]);
                let refs = schema["refs"].as_array().expect("a union has members");
                let refs: Vec<_> = refs.iter().map(|name| format!("&{}", self.named(name))).collect();
                format!("Schema::OpenUnion(&[{}])", refs.join(", "))
            }
            other => panic!("{}: the check doesn't know {other}", self.at),
        }
    }

    /// Complains about everything that isn't looked at: it could be a rule.
    fn knows(&self, schema: &Json, keys: &[&str]) {
        for key in schema.keys() {
            let known = key == "description" || keys.contains(&key.as_str());
            assert!(known, "{}: the check doesn't know {key}", self.at);
        }
    }

    fn text<'j>(&self, schema: &'j Json, key: &str) -> &'j str {
        schema.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("{}: {key} is missing", self.at))
    }

    fn number(&self, schema: &Json, key: &str, default: i64) -> i64 {
        match schema.get(key) {
            None => default,
            Some(value) => value.as_i64().unwrap_or_else(|| panic!("{}: {key} is no number", self.at)),
        }
    }

    fn format(&self, name: &str) -> &'static str {
        match name {
            "at-identifier" => "Format::AtIdentifier",
            "at-uri" => "Format::AtUri",
            "cid" => "Format::Cid",
            "datetime" => "Format::Datetime",
            "did" => "Format::Did",
            "handle" => "Format::Handle",
            "language" => "Format::Language",
            "nsid" => "Format::Nsid",
            "record-key" => "Format::RecordKey",
            "tid" => "Format::Tid",
            "uri" => "Format::Uri",
            other => panic!("{}: no format is called {other}", self.at),
        }
    }

    fn named(&self, reference: &Value) -> String {
        let name = reference.as_str().expect("a reference is text");
        let name = if name.starts_with('#') { format!("{}{name}", self.id) } else { name.to_owned() };
        constant(&if name.contains('#') { name } else { name + "#main" })
    }
}

/// `app.bsky.embed.images#image` is `APP_BSKY_EMBED_IMAGES_IMAGE`, and `#main` goes without.
fn constant(name: &str) -> String {
    name.trim_end_matches("#main").replace(['.', '#', '-'], "_").to_ascii_uppercase()
}
