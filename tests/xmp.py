"""Reads the AI-generated mark out of a JPEG's XMP packet, with no code of the project."""

import io
import xml.etree.ElementTree

from PIL import Image

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def xmp_mark(jpeg):
    """(Iptc4xmpExt:DigitalSourceType, dc:description) of a JPEG's bytes; KeyError without XMP."""
    root = xml.etree.ElementTree.fromstring(Image.open(io.BytesIO(jpeg)).info["xmp"])
    description = root.find(f"{_RDF}RDF/{_RDF}Description")
    text = description.find(f"{_DC}description/{_RDF}Alt/{_RDF}li").text
    return description.get(f"{_IPTC}DigitalSourceType"), text
