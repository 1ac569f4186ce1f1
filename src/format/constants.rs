//! Every name and number of the format: offsets, keys, file names.
//!
//! `docs/format.md` describes the format that they make up. Nothing here computes.

/// Suffix of every array file.
pub(crate) const SUFFIX: &str = ".ndshm";
/// Name of a store's lock file.
pub(crate) const LOCK_NAME: &str = ".lock";
/// Prefix of a file or directory under construction; member id and random letters follow.
pub(crate) const NEW_PREFIX: &str = ".ndshm-new-";
/// Prefix of a store directory that is being deleted: no process opens it again.
pub(crate) const GONE_PREFIX: &str = ".ndshm-gone-";

/// Tag 55799, map of 6, `"ndsh"` and format version 1.
pub(crate) const MAGIC: [u8; 10] = [0xd9, 0xd9, 0xf7, 0xa6, 0x64, b'n', b'd', b's', b'h', 0x01];
/// The bytes of the magic that every version has; its version follows.
pub(crate) const KIND_LEN: usize = 9;
/// Head of the fixed block: key and a 37-byte string.
pub(crate) const FIXED_HEAD: [u8; 8] = [0x65, b'f', b'i', b'x', b'e', b'd', 0x58, 0x25];
/// Where `header_end` (u32) stands.
pub(crate) const HEADER_END_AT: usize = 18;
/// Where the CRC-32 (u32) stands.
pub(crate) const CRC_AT: usize = 22;
/// Where `data_offset` (u64) stands.
pub(crate) const DATA_OFFSET_AT: usize = 26;
/// Where `data_len` (u64) stands.
pub(crate) const DATA_LEN_AT: usize = 34;
/// The reserved bytes of the fixed block, all zero.
pub(crate) const RESERVED: std::ops::Range<usize> = 42..55;
/// Head of the state block: key and a 2112-byte string, at offset 55.
pub(crate) const STATE_HEAD: [u8; 9] = [0x65, b's', b't', b'a', b't', b'e', 0x59, 0x08, 0x40];
/// Where the head of the state block stands.
pub(crate) const STATE_HEAD_AT: usize = 55;
/// Where the state block starts.
pub(crate) const STATE_AT: usize = 64;
/// Where the lifecycle word (u32) stands.
pub(crate) const LIFECYCLE_AT: usize = 68;
/// Where the frozen flag (u32) stands.
pub(crate) const FROZEN_AT: usize = 72;
/// Where the generation (u64) stands.
pub(crate) const GENERATION_AT: usize = 80;
/// Where the owner word (u64) stands.
pub(crate) const OWNER_AT: usize = 88;
/// Where the producer's member id (u64) stands.
pub(crate) const PRODUCER_AT: usize = 96;
/// Where the heir word (u64) stands.
pub(crate) const HEIR_AT: usize = 104;
/// Where the lock word (u64) stands.
pub(crate) const LOCK_WORD_AT: usize = 128;
/// Where the map of used entries of the list (u64) stands.
pub(crate) const USED_AT: usize = 136;
/// Where the map of used records (u64) stands.
pub(crate) const POISONED_AT: usize = 144;
/// Where the number of openers (u32) stands.
pub(crate) const OPENERS_AT: usize = 152;
/// Where the wake word (u32) stands.
pub(crate) const WAKE_AT: usize = 156;
/// Where the waiting flag (u32) stands.
pub(crate) const WAITING_AT: usize = 160;
/// Where the flag (u32) stands that says that the map of groups is in use.
pub(crate) const OVERFLOWN_AT: usize = 164;
/// Where the next waiter's ticket (u32) stands.
pub(crate) const TICKET_AT: usize = 168;
/// Where the bytes of a stripe (u64) stand.
pub(crate) const STRIPE_LEN_AT: usize = 176;
/// Where the number of writes to all stripes (u64) stands.
pub(crate) const WHOLE_AT: usize = 184;
/// Where the words start on which threads wait for a change of atomics (u32).
pub(crate) const SIGNALS_AT: usize = 192;
/// The number of these words.
pub(crate) const SIGNALS: usize = 8;
/// Where the word stands on which threads wait for a write (u32).
pub(crate) const CHANGE_AT: usize = 224;
/// Where the map of awaited stripes (u32) stands.
pub(crate) const AWAITED_AT: usize = 228;
/// Where the words start that say when a waiter last asked whether a holder lives (u64).
pub(crate) const ASKED_AT: usize = 232;
/// The number of these words.
pub(crate) const ASKED: usize = 3;
/// Where the list of lanes (u16) starts.
pub(crate) const LIST_AT: usize = 256;
/// Entries of the list of lanes.
pub(crate) const LIST_LEN: usize = 64;
/// Where the map of groups of lanes (u64) starts.
pub(crate) const GROUPS_AT: usize = 384;
/// Words of the map of groups: a bit for each [`GROUP`] lanes.
pub(crate) const GROUP_WORDS: usize = 17;
/// Lanes for which one bit of the map of groups stands.
pub(crate) const GROUP: usize = 16;
/// Where the records of poison start.
pub(crate) const RECORDS_AT: usize = 544;
/// Length of one record.
pub(crate) const RECORD_LEN: usize = 32;
/// Where a record's tag (u64) stands in it.
pub(crate) const RECORD_TAG_AT: usize = 0;
/// Where the first byte of a record's span (u64) stands in it.
pub(crate) const RECORD_START_AT: usize = 8;
/// Where the end of a record's span (u64) stands in it.
pub(crate) const RECORD_END_AT: usize = 16;
/// Where the pitch of a record's span (u32) stands in it.
pub(crate) const RECORD_PITCH_AT: usize = 24;
/// Where the width of a record's span (u32) stands in it.
pub(crate) const RECORD_WIDTH_AT: usize = 28;
/// Where the numbers of writes to some stripes (u64) start, one for each stripe.
pub(crate) const STRIPES_AT: usize = 2112;
/// The number of stripes of a payload.
pub(crate) const STRIPES: usize = 8;
/// The bytes of the state block that are zero.
pub(crate) const STATE_ZEROS: [std::ops::Range<usize>; 5] =
    [76..80, 112..128, 172..176, 232..256, 520..544];
/// Bytes of the state block.
pub(crate) const STATE_LEN: usize = 2112;
/// Records of poison in the state block.
pub(crate) const RECORDS: usize = 49;
/// Where the header's key stands.
pub(crate) const HEADER_KEY_AT: usize = STATE_AT + STATE_LEN;
/// The header's key.
pub(crate) const HEADER_KEY: [u8; 7] = [0x66, b'h', b'e', b'a', b'd', b'e', b'r'];
/// Where the header map starts.
pub(crate) const HEADER_AT: usize = HEADER_KEY_AT + HEADER_KEY.len();
/// The padding's key.
pub(crate) const PADDING_KEY: [u8; 8] = [0x67, b'p', b'a', b'd', b'd', b'i', b'n', b'g'];
/// The payload's key.
pub(crate) const PAYLOAD_KEY: [u8; 8] = [0x67, b'p', b'a', b'y', b'l', b'o', b'a', b'd'];
/// Largest `header_end`.
pub(crate) const MAX_HEADER_END: usize = 64 * 1024;
/// Payloads start at a multiple of this or of the page size, whichever is larger.
pub(crate) const MIN_ALIGN: usize = 4096;
/// Bytes of the padding that an open compares with zero.
pub(crate) const CHECKED_PADDING: usize = 4096;
/// A reader accepts payloads at a multiple of this: the largest alignment of an element.
pub(crate) const MAX_ALIGN: usize = 64;

/// Endian probe of the state block and of the lock file.
pub(crate) const ENDIAN_PROBE: u32 = 0x0102_0304;

/// First bytes of a lock file.
pub(crate) const LOCK_MAGIC: [u8; 8] = *b"ndshmlck";
/// Length of a new lock file, and of the page of its words.
pub(crate) const LOCK_LEN: usize = 4096;
/// Layout version of a lock file.
pub(crate) const LOCK_VERSION: u32 = 1;
/// Where the lock file's layout version (u32) stands.
pub(crate) const LOCK_VERSION_AT: usize = 8;
/// Where its endian probe (u32) stands.
pub(crate) const LOCK_ENDIAN_AT: usize = 12;
/// Where the next member id (u64) stands.
pub(crate) const LOCK_NEXT_MEMBER_AT: usize = 16;
/// Where the member id of the store's owner (u64) stands.
pub(crate) const LOCK_OWNER_AT: usize = 24;
/// Where the store's flags (u32) stand.
pub(crate) const LOCK_FLAGS_AT: usize = 32;
/// Four bytes that are zero.
pub(crate) const LOCK_ZERO_AT: usize = 36;
/// Where the store's id (16 bytes) stands.
pub(crate) const LOCK_UUID_AT: usize = 40;
/// Where the id of the boot (16 bytes) stands in which a process joined last.
pub(crate) const LOCK_BOOT_AT: usize = 56;
/// Where the number of lanes (u32) stands.
pub(crate) const LOCK_LANES_AT: usize = 72;
/// Four more bytes that are zero.
pub(crate) const LOCK_ZERO_TOO_AT: usize = 76;
/// Where the words start on which processes wait for an array of a name (u32).
pub(crate) const LOCK_PUBLISHED_AT: usize = 80;
/// The number of these words.
pub(crate) const PUBLISHED: usize = 8;
/// The lock file's words end here, and zeros follow up to the lanes.
pub(crate) const LOCK_END: usize = 112;
/// Where the lanes start in the lock file.
pub(crate) const LANES_AT: usize = 128;
/// Length of one lane.
pub(crate) const LANE_LEN: usize = 64;
/// Where a lane's tag (u64) stands in it.
pub(crate) const LANE_TAG_AT: usize = 0;
/// Where a lane's key (u64) stands in it.
pub(crate) const LANE_KEY_AT: usize = 8;
/// Where the first byte of a lane's span (u64) stands in it.
pub(crate) const LANE_START_AT: usize = 16;
/// Where the end of a lane's span (u64) stands in it.
pub(crate) const LANE_END_AT: usize = 24;
/// Where the pitch of a lane's span (u32) stands in it.
pub(crate) const LANE_PITCH_AT: usize = 32;
/// Where the width of a lane's span (u32) stands in it.
pub(crate) const LANE_WIDTH_AT: usize = 36;
/// Where the number of a lane's thread (u32) stands in it.
pub(crate) const LANE_THREAD_AT: usize = 40;
/// Where a lane's epoch (u32) stands in it.
pub(crate) const LANE_EPOCH_AT: usize = 44;
/// Where a lane's turn (u64) stands in it.
pub(crate) const LANE_TURN_AT: usize = 48;
/// Where the number of a lane's process (u32) stands in it.
pub(crate) const LANE_PROCESS_AT: usize = 56;
/// Where the time of a lane's wait (u32) stands in it.
pub(crate) const LANE_SINCE_AT: usize = 60;
/// Lanes of a new lock file: as many as its page has room for.
pub(crate) const FIRST_LANES: usize = (LOCK_LEN - LANES_AT) / LANE_LEN;
/// Lanes by which the lock file grows.
pub(crate) const MORE_LANES: usize = 1024;
/// The most lanes of a lock file.
pub(crate) const MOST_LANES: usize = FIRST_LANES + 16 * MORE_LANES;
/// The byte locks of members start here: one byte for each member id.
pub(crate) const MEMBER_LOCKS_AT: u64 = 1 << 32;
/// The byte lock under which chosen names are published and unlinked.
pub(crate) const NAMES_LOCK_AT: u64 = 1 << 31;
/// The byte lock under which a store is renamed away.
pub(crate) const CLOSING_LOCK_AT: u64 = NAMES_LOCK_AT + 1;
/// Member ids stay below this, the largest number of 56 bits.
pub(crate) const MAX_MEMBER: u64 = (1 << 56) - 1;
/// The first join after another boot adds this to the next member id.
pub(crate) const BOOT_STEP: u64 = 1 << 20;
