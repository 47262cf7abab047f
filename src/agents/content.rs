//! What a prompt is made of.

use serde::{Deserialize, Serialize};

use crate::model::Payload;

/// One block of a prompt or of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Block {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// A picture.
    Image {
        /// Its type, such as `image/png`.
        #[serde(rename = "mimeType")]
        mime: String,
        /// Its bytes in base64.
        data: String,
    },
    /// A file or another thing that has an address.
    ResourceLink {
        /// The address, such as `file:///a/b.rs`.
        uri: String,
        /// As people call it.
        name: String,
    },
    /// A text that has an address, with what it says.
    Resource {
        /// The address.
        uri: String,
        /// What it says.
        text: String,
    },
}

impl Block {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// The block as words, for agents that take nothing else.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text { text } => text.clone(),
            Self::Image { mime, .. } => format!("[a picture: {mime}]"),
            Self::ResourceLink { uri, name } => format!("[{name}]({uri})"),
            Self::Resource { uri, text } => {
                format!("<resource uri=\"{uri}\">\n{text}\n</resource>")
            }
        }
    }
}

/// The blocks of a message: a string is one block of words. What is neither a string nor blocks is
/// given as the JSON that it is.
pub fn blocks(content: &Payload) -> Vec<Block> {
    let text = || content.decode().unwrap_or_else(|_| content.as_str().to_owned());
    content.decode().unwrap_or_else(|_| vec![Block::Text { text: text() }])
}

/// Blocks as words, one after the other.
pub fn words(blocks: &[Block]) -> String {
    blocks.iter().map(Block::to_text).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_a_block_and_blocks_are_blocks() {
        assert_eq!(blocks(&Payload::text("hi")), [Block::text("hi")]);
        let two =
            [Block::text("a"), Block::Image { mime: "image/png".into(), data: "AA==".into() }];
        assert_eq!(blocks(&Payload::of(&two).expect("JSON")), two);
        let other = Payload::of(&serde_json::json!({"question": "why?"})).expect("JSON");
        assert_eq!(words(&blocks(&other)), r#"{"question":"why?"}"#);
    }
}
