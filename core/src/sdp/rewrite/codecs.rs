//! Rewrites of what a section says of its codecs.

use super::draft::Draft;
use super::{Change, Kind, Section, Token};
use crate::sdp::line::words;
use crate::sdp::section::Codec;

/// A set of payload types, which are less than 128.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct PayloadTypes(u128);

impl PayloadTypes {
    fn insert(&mut self, payload_type: u8) {
        self.0 |= 1 << u32::from(payload_type & Codec::MAX_PAYLOAD_TYPE);
    }

    fn contains(self, payload_type: u8) -> bool {
        self.0 & (1 << u32::from(payload_type & Codec::MAX_PAYLOAD_TYPE)) != 0
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (0..=Codec::MAX_PAYLOAD_TYPE).filter(move |payload_type| self.contains(*payload_type))
    }
}

impl FromIterator<u8> for PayloadTypes {
    fn from_iter<I: IntoIterator<Item = u8>>(all: I) -> Self {
        let mut set = Self::default();
        all.into_iter()
            .for_each(|payload_type| set.insert(payload_type));
        set
    }
}

/// The order of the formats is that of preference (RFC 3264 section 6.1).
pub(super) fn prefer(wanted: &[Token], draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
    for section in rtp_sections(draft) {
        let codecs = section.codecs();
        let rank = |format: &&str| {
            let number = Codec::payload_type(format);
            let codec = codecs
                .iter()
                .find(|codec| Some(codec.payload_type) == number);
            let place =
                codec.and_then(|codec| wanted.iter().position(|name| codec.is(name.as_str())));
            place.unwrap_or(wanted.len())
        };
        let mut formats: Vec<&str> = section.formats().collect();
        formats.sort_by_cached_key(rank);
        if formats.iter().copied().eq(section.formats()) {
            continue;
        }
        set_formats(section, &formats, draft);
        changes.push(Change::CodecsOrdered {
            section: section.index(),
            payload_types: formats
                .iter()
                .filter_map(|f| Codec::payload_type(f))
                .collect(),
        });
    }
}

pub(super) fn remove(codec: &Token, draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
    for section in rtp_sections(draft) {
        let codecs = section.codecs();
        let named = codecs.iter().filter(|own| own.is(codec.as_str()));
        let named: PayloadTypes = named.map(|own| own.payload_type).collect();
        let removed = with_dependent(named, section, &codecs);
        let is_left = |own: &Codec<'_>| !removed.contains(own.payload_type);
        let carries_on = codecs.iter().any(|own| is_left(own) && !own.is_auxiliary());
        if removed == PayloadTypes::default() || !carries_on {
            continue;
        }
        let is_removed = |number: Option<u8>| number.is_some_and(|number| removed.contains(number));
        let formats: Vec<&str> = section
            .formats()
            .filter(|format| !is_removed(Codec::payload_type(format)))
            .collect();
        set_formats(section, &formats, draft);
        for line in section.lines() {
            match line.kind {
                Kind::Rtpmap | Kind::Fmtp | Kind::RtcpFb | Kind::ImageAttr
                    if is_removed(Codec::of_line(line.value)) =>
                {
                    draft.drop(line.index);
                }
                Kind::Rid => {
                    if let Some(value) = rid_without(line.value, removed) {
                        draft.replace(line.index, format!("a=rid:{value}"));
                    }
                }
                _ => {}
            }
        }
        changes.push(Change::CodecRemoved {
            section: section.index(),
            payload_types: removed.iter().collect(),
        });
    }
}

/// An offer of the header extension and of its feedback, where they are missing.
pub(super) fn require_transport_cc(draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
    // In a BUNDLE group an id means the same everywhere (RFC 9143 section 9.2), so one is looked for that no section uses.
    let mut used = 0_u32;
    let mut chosen = None;
    for extmap in rtp_sections(draft).flat_map(|section| section.all(Kind::Extmap)) {
        let Some((id, uri)) = extension(extmap.value) else {
            continue;
        };
        used |= 1_u32.checked_shl(id).unwrap_or(0);
        if uri == TRANSPORT_CC_URI {
            chosen.get_or_insert(id);
        }
    }
    let free = || (1..=MAX_ONE_BYTE_ID).find(|id| used & (1 << id) == 0);
    let Some(id) = chosen.or_else(free) else {
        return;
    };
    for section in rtp_sections(draft).filter(|section| !section.is_rejected()) {
        let mut extensions = section
            .all(Kind::Extmap)
            .filter_map(|line| extension(line.value));
        let mut lines = Vec::new();
        match extensions.find(|(own, uri)| *own == id || *uri == TRANSPORT_CC_URI) {
            None => lines.push(format!("a=extmap:{id} {TRANSPORT_CC_URI}")),
            Some((_, uri)) if uri == TRANSPORT_CC_URI => {}
            // The id of another section stands for something else here.
            Some(_) => continue,
        }
        let feedback = section.all(Kind::RtcpFb);
        let feedback = feedback.filter(|line| words(line.value).skip(1).eq(["transport-cc"]));
        let (mut is_for_all, mut has) = (false, PayloadTypes::default());
        for line in feedback {
            is_for_all |= line.value.starts_with('*');
            Codec::of_line(line.value)
                .into_iter()
                .for_each(|own| has.insert(own));
        }
        for codec in section
            .codecs()
            .iter()
            .filter(|codec| !codec.is_auxiliary())
        {
            if !is_for_all && !has.contains(codec.payload_type) {
                has.insert(codec.payload_type);
                lines.push(format!("a=rtcp-fb:{} transport-cc", codec.payload_type));
            }
        }
        if lines.is_empty() {
            continue;
        }
        let end = section.end();
        lines.into_iter().for_each(|line| draft.insert(end, line));
        changes.push(Change::TransportCcAdded {
            section: section.index(),
        });
    }
}

fn rtp_sections<'a>(draft: &Draft<'a>) -> impl Iterator<Item = Section<'a>> + use<'a> {
    draft.description().sections().filter(Section::is_rtp)
}

fn set_formats(section: Section<'_>, formats: &[&str], draft: &mut Draft<'_>) {
    if let (Some(line), Some(m)) = (section.first(Kind::Media), section.media_line()) {
        let formats = formats.join(" ");
        let text = format!("m={} {} {} {formats}", m.media, m.ports, m.protocol);
        draft.replace(line.index, text);
    }
}

/// Adds the payload types that repeat, or pack, those of the set.
fn with_dependent(
    mut set: PayloadTypes,
    section: Section<'_>,
    codecs: &[Codec<'_>],
) -> PayloadTypes {
    let mut dependent = Vec::new();
    for line in section.all(Kind::Fmtp) {
        let own = Codec::of_line(line.value);
        let codec = codecs.iter().find(|codec| Some(codec.payload_type) == own);
        let (Some(codec), Some((_, parameters))) = (codec, line.value.split_once(' ')) else {
            continue;
        };
        let on: PayloadTypes = match codec {
            // RFC 4588 section 8.1: `apt=96;rtx-time=3000`.
            rtx if rtx.is("rtx") => {
                let parameters = parameters.split(';').map(str::trim);
                let apt = parameters.filter_map(|parameter| parameter.strip_prefix("apt="));
                apt.filter_map(Codec::payload_type).collect()
            }
            // RFC 2198 section 5: `111/111`.
            red if red.is("red") => parameters
                .split('/')
                .filter_map(Codec::payload_type)
                .collect(),
            _ => continue,
        };
        dependent.push((codec.payload_type, on));
    }
    // Each round but the last adds a payload type.
    for _ in 0..=Codec::MAX_PAYLOAD_TYPE {
        let before = set;
        for (payload_type, on) in &dependent {
            if on.0 & set.0 != 0 {
                set.insert(*payload_type);
            }
        }
        if set == before {
            break;
        }
    }
    set
}

/// RFC 8851 section 10: `1 send pt=96,97;max-width=1280`. `None` when no payload type of the set is in it.
fn rid_without(value: &str, removed: PayloadTypes) -> Option<String> {
    let (head, restrictions) = value.rsplit_once(' ')?;
    let types = restrictions
        .split(';')
        .find_map(|r| r.strip_prefix("pt="))?;
    let is_removed =
        |format: &str| Codec::payload_type(format).is_some_and(|own| removed.contains(own));
    if !types.split(',').any(is_removed) {
        return None;
    }
    let left: Vec<&str> = types
        .split(',')
        .filter(|format| !is_removed(format))
        .collect();
    let left = (!left.is_empty()).then(|| format!("pt={}", left.join(",")));
    let others = restrictions
        .split(';')
        .filter(|r| !r.starts_with("pt="))
        .map(str::to_owned);
    let restrictions: Vec<String> = left.into_iter().chain(others).collect();
    Some(
        format!("{head} {}", restrictions.join(";"))
            .trim_end()
            .to_owned(),
    )
}

/// RFC 8285 section 8: the id and the URI of `1/sendonly uri attributes`.
fn extension(value: &str) -> Option<(u32, &str)> {
    let mut fields = words(value);
    let id = fields.next()?.split('/').next()?;
    Some((id.parse().ok()?, fields.next()?))
}

const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// RFC 8285 section 4.2: what headers of one byte can name.
const MAX_ONE_BYTE_ID: u32 = 14;
