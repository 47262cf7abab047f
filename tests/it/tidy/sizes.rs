//! How long functions and files may be.

use std::path::Path;

use syn::visit::{self, Visit};

use super::reading::{all_code, expect_none, parsed, text};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 70;

#[test]
fn functions_are_short() {
    let (mut long, mut lengths) = (Vec::new(), Vec::new());
    for path in all_code() {
        let mut functions = Functions::default();
        functions.visit_file(&parsed(&path));
        for (name, first, lines) in functions.0 {
            if lines > LINES_OF_A_FUNCTION {
                long.push(format!("{}:{first}: `{name}` has {lines} lines", path.display()));
            }
            lengths.extend(path.starts_with("src").then_some(lines));
        }
    }
    lengths.sort_unstable();
    let (middle, most) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
    println!("{} functions: median {middle} lines, nine in ten below {most}", lengths.len());
    expect_none(&long);
}

/// Functions: their names, first lines and lengths.
#[derive(Default)]
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, sig: &syn::Signature, block: &syn::Block) {
        let first = sig.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.0.push((sig.ident.to_string(), first, last + 1 - first));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn files_are_short() {
    let lines = |path: &Path| text(path).lines().count();
    let long = all_code().into_iter().filter(|path| lines(path) > LINES_OF_A_FILE);
    let long: Vec<_> = long.map(|path| format!("{} is too long", path.display())).collect();
    expect_none(&long);
}
