"""The AI-generated mark of cards, JPEGs, videos and previews, and the consent a card states."""

import datetime

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NOTICE = (
    "AI-generated: pictures of this avatar were made by a neural network "
    "and show nothing that happened."
)

# The comment of videos and PNGs.
MARK = f"{NOTICE} digitalSourceType={SOURCE_TYPE}"

# The XMP packet of JPEGs (ISO 16684-1), where IPTC readers look for the digital source type.
XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}">'
    f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{NOTICE}</rdf:li></rdf:Alt>'
    "</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
)

# The card's `consent` object where no consent was given to personalisation.
NO_CONSENT = {"statement": None, "by": None, "when": None}


def stated_consent(statement: str | None, by: str | None = None) -> dict | None:
    """The card's `consent` object: who stated what, and when; None without a statement."""
    if not statement:
        return None
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"statement": statement, "by": by, "when": when}


def consent_sentence(card: dict | None) -> str:
    """One sentence on the consent stated in an avatar's card."""
    consent = (card or {}).get("consent") or NO_CONSENT
    if not consent["statement"]:
        return "consent: none stated"
    by = f", stated by {consent['by']}" if consent["by"] else ""
    return f"consent: {consent['statement']}{by}, {consent['when']}"


def watermark_sentence(card: dict | None) -> str:
    """One sentence on the watermark described in an avatar's card."""
    mark = (card or {}).get("watermark")
    if mark is None:
        return "no watermark (exported before there was one)"
    if not mark["present"]:
        return f"no watermark ({mark['why']})"
    if mark["id"] is None:
        return f"watermark of {mark['of']}"
    return f"watermark {mark['id']}, key {mark['key']}"
