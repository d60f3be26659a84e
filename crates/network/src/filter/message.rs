//! Messages of nf_tables: `linux/netfilter/nf_tables.h`, nfnetlink's subsystem 10.
//!
//! Only what the rules of this crate need. Numbers are big-endian on this wire, but for what is compared with values that
//! the kernel keeps in the machine's order.

use gantry_sys::netlink::{CREATE_EXCLUSIVELY, Request};

/// nfnetlink's number of nf_tables.
pub(super) const SUBSYSTEM: u8 = 10;
/// The kernel's number of IPv4 as a family of tables.
const FAMILY_IPV4: u8 = 2;

const NEWTABLE: u8 = 0;
const DELTABLE: u8 = 2;
const NEWCHAIN: u8 = 3;
const NEWRULE: u8 = 6;
const NEWSET: u8 = 9;
const NEWSETELEM: u8 = 12;
const DELSETELEM: u8 = 14;

const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LEN: u16 = 7;
const SET_ID: u16 = 10;
const SET_FLAG_MAP: u32 = 0x8;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS_LIST: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
pub(super) const LIST_ITEM: u16 = 1;
pub(super) const DATA_VALUE: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const VERDICT_ACCEPT: u32 = 1;

/// An element has some 60 bytes on the wire, and all of one message are in one attribute of at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 512;

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// The place: prerouting 0, input 1, forward 2, output 3, postrouting 4.
    pub(super) number: u32,
    /// What runs before: the smaller.
    pub(super) priority: i32,
}

/// A set or map: what its keys and values are, for `nft list`, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) key_type: u32,
    pub(super) key_len: u32,
    /// Type and length of a map's values.
    pub(super) data: Option<(u32, u32)>,
}

/// A part of a rule, such as `cmp`, and its attributes.
pub(super) struct Expression {
    pub(super) name: &'static str,
    pub(super) build: Box<dyn FnOnce(Request) -> Request>,
}

fn message(kind: u8, flags: u16) -> Request {
    Request::new(u16::from(SUBSYSTEM) << 8 | u16::from(kind), flags, &[FAMILY_IPV4, 0, 0, 0])
}

/// Adds a string with its NUL.
pub(super) fn text(request: Request, kind: u16, value: &str) -> Request {
    request.with(kind, &[value.as_bytes(), b"\0"].concat())
}

/// Adds a number in the network's order.
pub(super) fn number(request: Request, kind: u16, value: u32) -> Request {
    request.with(kind, &value.to_be_bytes())
}

/// A table, made if it is not there.
pub(super) fn new_table(table: &str) -> Request {
    text(message(NEWTABLE, NLM_F_CREATE), TABLE_NAME, table)
}

/// Removes a table and all that is in it.
pub(super) fn delete_table(table: &str) -> Request {
    text(message(DELTABLE, 0), TABLE_NAME, table)
}

/// A chain; with a hook, one that the kernel enters by itself, and that lets pass what no rule decides.
pub(super) fn new_chain(table: &str, name: &str, hook: Option<Hook>) -> Request {
    let request = text(message(NEWCHAIN, CREATE_EXCLUSIVELY), CHAIN_TABLE, table);
    let request = text(request, CHAIN_NAME, name);
    let Some(hook) = hook else { return request };
    let request = request.nest(CHAIN_HOOK, |inner| {
        number(number(inner, HOOK_NUMBER, hook.number), HOOK_PRIORITY, hook.priority as u32)
    });
    text(number(request, CHAIN_POLICY, VERDICT_ACCEPT), CHAIN_TYPE, hook.kind)
}

/// A rule behind those that the chain has.
pub(super) fn new_rule(table: &str, chain: &str, expressions: Vec<Expression>) -> Request {
    let request = text(message(NEWRULE, NLM_F_CREATE | NLM_F_APPEND), RULE_TABLE, table);
    text(request, RULE_CHAIN, chain).nest(RULE_EXPRESSIONS, |list| {
        expressions.into_iter().fold(list, |list, expression| {
            list.nest(LIST_ITEM, |item| {
                text(item, EXPRESSION_NAME, expression.name).nest(EXPRESSION_DATA, expression.build)
            })
        })
    })
}

/// A set or map.
pub(super) fn new_set(table: &str, set: Set, id: u32) -> Request {
    let request = text(message(NEWSET, CREATE_EXCLUSIVELY), SET_TABLE, table);
    let request = number(text(request, SET_NAME, set.name), SET_ID, id);
    let request = number(number(request, SET_KEY_TYPE, set.key_type), SET_KEY_LEN, set.key_len);
    let Some((data_type, data_len)) = set.data else { return request };
    let request = number(request, SET_FLAGS, SET_FLAG_MAP);
    number(number(request, SET_DATA_TYPE, data_type), SET_DATA_LEN, data_len)
}

/// Adds elements: keys, and for a map their values.
pub(super) fn add_elements(table: &str, set: &str, elements: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<Request> {
    elements_of(NEWSETELEM, CREATE_EXCLUSIVELY, table, set, elements)
}

/// Removes elements by their keys.
pub(super) fn delete_elements(table: &str, set: &str, keys: Vec<Vec<u8>>) -> Vec<Request> {
    let elements: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
    elements_of(DELSETELEM, 0, table, set, &elements)
}

fn elements_of(
    kind: u8,
    flags: u16,
    table: &str,
    set: &str,
    elements: &[(Vec<u8>, Option<Vec<u8>>)],
) -> Vec<Request> {
    let one = |item: Request, (key, data): &(Vec<u8>, Option<Vec<u8>>)| {
        let item = item.nest(ELEMENT_KEY, |inner| inner.with(DATA_VALUE, key));
        match data {
            Some(data) => item.nest(ELEMENT_DATA, |inner| inner.with(DATA_VALUE, data)),
            None => item,
        }
    };
    let part = |part: &[(Vec<u8>, Option<Vec<u8>>)]| {
        let request = text(text(message(kind, flags), ELEMENTS_TABLE, table), ELEMENTS_SET, set);
        request.nest(ELEMENTS_LIST, |list| {
            part.iter().fold(list, |list, element| list.nest(LIST_ITEM, |item| one(item, element)))
        })
    };
    elements.chunks(ELEMENTS_PER_MESSAGE).map(part).collect()
}
