"""What a server's tool gave, as the text that a model reads."""

from __future__ import annotations

import json
from typing import Any

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

NOTE_MAX_CHARS = 500


def text_of(result: CallToolResult) -> str:
    """Texts as they are; of what a model cannot read here, a note. Structured content is added
    where no text says the same."""
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    parts = [_text(block) for block in result.content]
    structured = result.structured_content
    if structured is not None and not any(_says(text, structured) for text in texts):
        parts.append(json.dumps(structured, ensure_ascii=False))
    return "\n".join(part for part in parts if part)


def _text(block: Any) -> str:
    match block:
        case TextContent():
            return str(block.text)
        case ImageContent():
            return f"[image, {block.mime_type[:100]}, {_size(block.data)}: not shown]"
        case AudioContent():
            return f"[audio, {block.mime_type[:100]}, {_size(block.data)}: not played]"
        case ResourceLink():
            words = [block.title or block.name, str(block.uri), block.description]
            return f"[resource: {', '.join(word for word in words if word)[:NOTE_MAX_CHARS]}]"
        case EmbeddedResource(resource=TextResourceContents() as held):
            return str(held.text)
        case EmbeddedResource(resource=BlobResourceContents() as held):
            kind = (held.mime_type or "unknown type")[:100]
            return f"[file {str(held.uri)[:NOTE_MAX_CHARS]}, {kind}, {_size(held.blob)}: not shown]"
    return f"[{str(getattr(block, 'type', 'something'))[:100]}: not shown]"


def _size(base64_text: str) -> str:
    size = len(base64_text) * 3 // 4
    return f"{size / 1024:,.0f} KiB" if size >= 10 * 1024 else f"{size:,} bytes"


def _says(text: str, structured: object) -> bool:
    """Whether a text is the same as the structured content, or its single `result`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if found == structured:
        return True
    return (
        isinstance(structured, dict)
        and list(structured) == ["result"]
        and (structured["result"] in (found, text))
    )
