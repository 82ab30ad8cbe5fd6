"""XML in and out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from vizsla.aws.errors import AwsError

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 cannot hold."""

Tree = Mapping[str, Any]
"""Text, a tree, or a list of either, by the elements' names; None is left out."""


class _NoDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Entities are declared there: none is wanted."""
        raise AwsError("MalformedXML", "The XML you provided may not have a document type declaration.")


def read(body: bytes) -> ElementTree.Element:
    """The root of a document, its elements' names without namespaces.

    Raises
    ------
    AwsError
        MalformedXML, also for one with a document type declaration.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        parser.feed(body)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise AwsError("MalformedXML", f"The XML you provided was not well-formed: {error}.") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def text(element: ElementTree.Element, name: str) -> str | None:
    """The text of a child; None where there is no such child."""
    child = element.find(name)
    return None if child is None else child.text or ""


def write(name: str, tree: Tree, *, namespace: bool = True) -> bytes:
    """A document.

    >>> write("Error", {"Code": "NoSuchKey"}, namespace=False)
    b'<?xml version="1.0" encoding="UTF-8"?>\\n<Error><Code>NoSuchKey</Code></Error>'
    """
    root = ElementTree.Element(name, {"xmlns": _NAMESPACE} if namespace else {})
    _fill(root, tree)
    content: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + content


def _fill(element: ElementTree.Element, tree: Tree) -> None:
    for name, value in tree.items():
        many: Iterable[Any] = value if isinstance(value, list) else () if value is None else (value,)
        for item in many:
            child = ElementTree.SubElement(element, name)
            if isinstance(item, Mapping):
                _fill(child, item)
            elif isinstance(item, bool):
                child.text = str(item).lower()
            else:
                child.text = _UNSPEAKABLE.sub("\ufffd", str(item))
