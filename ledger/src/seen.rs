//! Deduplication: the commands that a shard has had, within a window of time and of count.
//!
//! Millions of them, so each takes 13 bytes: a print and the place of its step, where everything else can be
//! read. They stand in blocks of so many places in the ledger; only the newest block is still added to.
//!
//! ```text
//!   place / BLOCK ->  | sealed | sealed | sealed | open |     a sealed block: sorted prints, and a filter
//!                        ^ dropped whole, once it is outside both windows
//! ```

use crate::subject::Subject;
use base64::Engine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Timestamp, Workspace};

/// For how long a command is remembered at least.
pub const WINDOW_MS: u64 = 3_600_000;
/// How many of the last commands are remembered at least.
pub const WINDOW_COUNT: usize = 100_000;
/// How many commands are remembered at most: about 40 bytes a task, which takes two or three of them and an entry of
/// its own. What may have been forgotten is known by its time, and refused.
pub const WINDOW_MOST: usize = 262_144;
/// Places in the ledger whose commands stand in one block.
const BLOCK: u64 = 8_192;
/// Set in a place that is an entity's and not a command's.
const TASK: u16 = 1 << 15;

/// 10 bytes of BLAKE3 of workspace and `ce_id` (or task): that two of the millions in a window are the same is less
/// likely than 1 in 10^11.
type Print = [u8; 10];
/// A print and its place in the block.
type Entry = [u8; 12];

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// For how long at least, in milliseconds.
    pub ms: u64,
    /// How many of the last commands at least.
    pub count: usize,
    /// How many commands at most, to a block of them; goes before the others.
    pub most: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window { ms: WINDOW_MS, count: WINDOW_COUNT, most: WINDOW_MOST }
    }
}

/// A block that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) block: u64,
    /// Its newest image or its birth.
    pub(crate) base: u64,
    /// The time of its newest command.
    pub(crate) newest: Timestamp,
}

/// The commands that a shard has had, and the tasks that it was given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    blocks: BTreeMap<u64, Block>,
}

#[derive(Clone, PartialEq)]
struct Block {
    /// Its newest image or its birth.
    base: u64,
    newest: Timestamp,
    commands: u32,
    entries: Entries,
}

#[derive(Clone, PartialEq)]
enum Entries {
    Open(BTreeMap<Print, u16>),
    Sealed { sorted: Box<[Entry]>, filter: Box<[u64]> },
}

/// A block as it stands in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenImage {
    /// The block: the places from this times 8,192 on.
    pub block: u64,
    /// The time of its newest command.
    pub newest: Timestamp,
    /// Base64 of 12 bytes each: the first 10 of BLAKE3 of workspace, 0 and `ce_id` (or workspace, 1 and task; 2 and negotiation; 3 and execution; 4 and approval), then
    /// the step's place in the block, with the highest bit set for a task; big-endian, sorted.
    pub entries: String,
}

fn print(workspace: &Workspace, kind: u8, name: &str) -> Print {
    let mut hash = blake3::Hasher::new();
    hash.update(workspace.as_str().as_bytes()).update(&[kind]).update(name.as_bytes());
    let mut print = [0; 10];
    print.copy_from_slice(&hash.finalize().as_bytes()[..10]);
    print
}

/// `None`: it never leaves memory.
fn print_of(subject: &Subject) -> Option<Print> {
    let (workspace, id) = subject.at()?;
    Some(print(workspace, subject.print_kind()?, id))
}

fn entry(print: &Print, place: u16) -> Entry {
    let mut entry = [0; 12];
    entry[..10].copy_from_slice(print);
    entry[10..].copy_from_slice(&place.to_be_bytes());
    entry
}

fn parts(entry: &Entry) -> (Print, u16) {
    let mut print = [0; 10];
    print.copy_from_slice(&entry[..10]);
    (print, u16::from_be_bytes([entry[10], entry[11]]))
}

impl Seen {
    /// The place of the step by which this command was had.
    pub(crate) fn command(&self, workspace: &Workspace, ce_id: &str) -> Option<u64> {
        self.get(&print(workspace, 0, ce_id))
    }

    /// The place of the step by which this was made, or of that by which it ended, if long after.
    pub(crate) fn entity(&self, subject: &Subject) -> Option<u64> {
        self.get(&print_of(subject)?)
    }

    fn get(&self, print: &Print) -> Option<u64> {
        let found = self.blocks.iter().rev().find_map(|(block, b)| Some((block, b.entries.get(print)?)));
        found.map(|(block, place)| block * BLOCK + u64::from(place & !TASK))
    }

    /// Remembers a command; the block, if this is its first.
    pub(crate) fn insert_command(
        &mut self,
        at: (u64, u64),
        now: Timestamp,
        workspace: &Workspace,
        ce_id: &str,
    ) -> Option<u64> {
        self.insert(at, now, print(workspace, 0, ce_id), 0)
    }

    /// Remembers an entity, if this block does not; the block, if this is its first.
    pub(crate) fn insert_entity(&mut self, at: (u64, u64), now: Timestamp, subject: &Subject) -> Option<u64> {
        self.insert(at, now, print_of(subject)?, TASK)
    }

    /// `at`: the step's place, and the offset where it stands.
    fn insert(&mut self, at: (u64, u64), now: Timestamp, print: Print, kind: u16) -> Option<u64> {
        let (place, offset) = at;
        let number = place / BLOCK;
        let born = !self.blocks.contains_key(&number);
        let block = self.blocks.entry(number).or_insert_with(|| Block::new(offset, now));
        block.newest = block.newest.max(now);
        block.add(print, (place % BLOCK) as u16 | kind);
        if born {
            self.seal();
        }
        born.then_some(number)
    }

    /// Seals all but the newest block.
    fn seal(&mut self) {
        let newest = self.blocks.keys().next_back().copied();
        for (number, block) in self.blocks.iter_mut().rev().skip(1) {
            debug_assert!(Some(*number) != newest);
            if matches!(block.entries, Entries::Sealed { .. }) {
                break;
            }
            block.seal();
        }
    }

    /// Drops the blocks outside the window.
    pub(crate) fn forget(&mut self, now: Timestamp, window: Window) -> Vec<Forgotten> {
        let mut left = self.len();
        let mut dropped = Vec::new();
        while let Some((number, block)) = self.blocks.first_key_value() {
            let (number, newest, base) = (*number, block.newest, block.base);
            let newer = left - block.commands as usize;
            let is_old = now.millis_since(newest) > window.ms && newer >= window.count;
            let is_too_much = left > window.most && self.blocks.len() > 1;
            if !is_old && !is_too_much {
                break;
            }
            self.blocks.remove(&number);
            dropped.push(Forgotten { block: number, base, newest });
            left = newer;
        }
        dropped
    }

    /// A block's newest image or birth.
    pub(crate) fn base(&self, block: u64) -> Option<u64> {
        self.blocks.get(&block).map(|b| b.base)
    }

    /// Every block with its newest image or birth.
    pub(crate) fn bases(&self) -> impl Iterator<Item = (u64, u64)> {
        self.blocks.iter().map(|(number, b)| (*number, b.base))
    }

    /// Notes a block's new image; what was its base before.
    pub(crate) fn rebase(&mut self, block: u64, offset: u64) -> Option<u64> {
        self.blocks.get_mut(&block).map(|b| std::mem::replace(&mut b.base, offset))
    }

    /// A block as it is to stand in an image.
    pub(crate) fn image(&self, block: u64) -> Option<SeenImage> {
        let b = self.blocks.get(&block)?;
        let bytes = b.entries.sorted().concat();
        let entries = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
        Some(SeenImage { block, newest: b.newest, entries })
    }

    /// Takes an image in, which holds all that came before it. The base before, if the block was known.
    ///
    /// # Errors
    /// A sentence, where its entries cannot be read.
    pub(crate) fn restore(&mut self, offset: u64, image: &SeenImage) -> Result<Option<u64>, String> {
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(&image.entries)
            .map_err(|e| format!("the commands of block {}: {e}", image.block))?;
        let (entries, rest) = bytes.as_chunks::<12>();
        if !rest.is_empty() {
            return Err(format!("the commands of block {}: {} bytes are left over", image.block, rest.len()));
        }
        let before = self.blocks.get(&image.block).map(|b| b.base);
        let mut block = Block::new(offset, image.newest);
        for entry in entries {
            let (print, place) = parts(entry);
            block.add(print, place);
        }
        self.blocks.insert(image.block, block);
        if self.blocks.keys().next_back() != Some(&image.block)
            && let Some(block) = self.blocks.get_mut(&image.block)
        {
            block.seal();
        }
        self.seal();
        Ok(before)
    }

    /// How many commands are remembered.
    pub(crate) fn len(&self) -> usize {
        self.blocks.values().map(|b| b.commands as usize).sum()
    }

    /// Whether each block is as it should be.
    pub(crate) fn consistent(&self) -> Result<(), String> {
        let newest = self.blocks.keys().next_back();
        for (number, block) in &self.blocks {
            let sorted = block.entries.sorted();
            let commands = sorted.iter().filter(|e| parts(e).1 & TASK == 0).count();
            if commands != block.commands as usize {
                return Err(format!("block {number} counts {} commands, has {commands}", block.commands));
            }
            if matches!(block.entries, Entries::Open(_)) != (newest == Some(number)) {
                return Err(format!("block {number} is open and not the newest, or the newest and sealed"));
            }
            if let Some(e) = sorted.iter().find(|e| block.entries.get(&parts(e).0).is_none()) {
                return Err(format!("block {number} does not find its own {e:?}"));
            }
        }
        Ok(())
    }
}

impl Block {
    fn new(base: u64, newest: Timestamp) -> Block {
        Block { base, newest, commands: 0, entries: Entries::Open(BTreeMap::new()) }
    }

    fn add(&mut self, print: Print, place: u16) {
        if let Entries::Sealed { sorted, .. } = &self.entries {
            self.entries = Entries::Open(sorted.iter().map(parts).collect());
        }
        if let Entries::Open(entries) = &mut self.entries
            && !entries.contains_key(&print)
        {
            entries.insert(print, place);
            self.commands += u32::from(place & TASK == 0);
        }
    }

    fn seal(&mut self) {
        if let Entries::Open(entries) = &self.entries {
            let sorted: Box<[Entry]> = entries.iter().map(|(print, place)| entry(print, *place)).collect();
            let filter = filter_of(&sorted);
            self.entries = Entries::Sealed { sorted, filter };
        }
    }
}

impl Entries {
    fn get(&self, print: &Print) -> Option<u16> {
        match self {
            Entries::Open(entries) => entries.get(print).copied(),
            Entries::Sealed { sorted, filter } => {
                if !may_hold(filter, print) {
                    return None;
                }
                let at = sorted.binary_search_by(|e| e[..10].cmp(print)).ok()?;
                Some(parts(&sorted[at]).1)
            }
        }
    }

    fn sorted(&self) -> Vec<Entry> {
        match self {
            Entries::Open(entries) => entries.iter().map(|(print, place)| entry(print, *place)).collect(),
            Entries::Sealed { sorted, .. } => sorted.to_vec(),
        }
    }
}

/// A blocked Bloom filter of 10 bits an entry, three of them in one cache line: most of what is asked for is new,
/// and is told so without a search. (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters.)
fn filter_of(sorted: &[Entry]) -> Box<[u64]> {
    let mut filter = vec![0; (sorted.len() * 10).div_ceil(512).max(1) * 8].into_boxed_slice();
    for entry in sorted {
        let (words, bits) = places(filter.len(), &parts(entry).0);
        for bit in bits {
            filter[words + bit / 64] |= 1 << (bit % 64);
        }
    }
    filter
}

fn may_hold(filter: &[u64], print: &Print) -> bool {
    let (words, bits) = places(filter.len(), print);
    bits.iter().all(|bit| filter[words + bit / 64] & (1 << (bit % 64)) != 0)
}

/// The cache line of a print and its three bits there; a print is as good as random.
fn places(words: usize, print: &Print) -> (usize, [usize; 3]) {
    let word = |at: usize| usize::from(u16::from_le_bytes([print[at], print[at + 1]]));
    let line = (word(8) << 16 | word(6)) % (words / 8) * 8;
    (line, [word(0) % 512, word(2) % 512, word(4) % 512])
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |entries: Vec<Entry>| blake3::hash(&entries.concat()).to_hex()[..16].to_owned();
        write!(f, "{} commands from {} to {} ", self.commands, self.base, self.newest)?;
        f.write_str(&of(self.entries.sorted()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms as i64)
    }

    #[test]
    fn a_command_is_found_where_it_was_had_and_no_other_is() {
        let (mut seen, ws) = (Seen::default(), Workspace::default_name());
        let task = |i: u64| {
            Subject::Task(crate::state::TaskKey {
                workspace: ws.clone(),
                task: format!("t{i}").parse().unwrap(),
            })
        };
        for i in 0..3 * BLOCK {
            seen.insert_command((i, i), at(i), &ws, &i.to_string());
            if i % 2 == 0 {
                seen.insert_entity((i, i), at(i), &task(i));
            }
        }
        seen.consistent().unwrap();
        for i in 0..3 * BLOCK {
            assert_eq!(seen.command(&ws, &i.to_string()), Some(i));
            assert_eq!(seen.entity(&task(i)), (i % 2 == 0).then_some(i));
            assert_eq!(seen.command(&ws, &format!("x{i}")), None);
        }
        assert!(seen.command(&"other".parse().unwrap(), "0").is_none());
        assert_eq!(seen.len(), 3 * BLOCK as usize);
    }

    #[test]
    fn a_block_goes_when_it_is_outside_both_windows() {
        let (mut seen, ws) = (Seen::default(), Workspace::default_name());
        for i in 0..3 * BLOCK {
            seen.insert_command((i, i), at(i), &ws, &i.to_string());
        }
        let now = at(5 * BLOCK);
        let check = |ms: u64, count: u64, most: u64, want: Vec<u64>| {
            let window = Window { ms, count: count as usize, most: most as usize };
            let dropped = seen.clone().forget(now, window);
            assert_eq!(dropped.iter().map(|f| f.block).collect::<Vec<_>>(), want, "{window:?}");
            assert!(dropped.iter().all(|f| f.newest == at((f.block + 1) * BLOCK - 1)), "{dropped:?}");
        };
        let all = 3 * BLOCK;
        check(10 * BLOCK, 0, all, vec![]);
        check(0, 0, all, vec![0, 1, 2]);
        check(3 * BLOCK, 0, all, vec![0, 1]);
        check(0, BLOCK, all, vec![0, 1]);
        check(0, BLOCK + 1, all, vec![0]);
        check(3 * BLOCK, 2 * BLOCK, all, vec![0]);
        check(10 * BLOCK, all, all - 1, vec![0]);
        check(10 * BLOCK, all, 1, vec![0, 1]);
    }

    #[test]
    fn an_image_gives_back_what_was_had_whatever_came_first() {
        let (mut seen, ws) = (Seen::default(), Workspace::default_name());
        for i in 0..2 * BLOCK + 10 {
            seen.insert_command((i, i), at(i), &ws, &i.to_string());
        }
        let mut late = Seen::default();
        for i in BLOCK + 5..2 * BLOCK + 10 {
            late.insert_command((i, i), at(i), &ws, &i.to_string());
        }
        for block in [2, 0, 1] {
            late.restore(9, &seen.image(block).unwrap()).unwrap();
            seen.rebase(block, 9);
        }
        late.consistent().unwrap();
        assert_eq!(late, seen);
        let broken = SeenImage { block: 0, newest: at(0), entries: "AAAA".into() };
        assert!(late.restore(0, &broken).unwrap_err().contains("left over"));
    }
}
