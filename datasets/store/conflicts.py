"""The rule for a name that is taken already.

Different keys never conflict. Of one key the first content stays: the same content again is no
conflict and no commit, other content is refused, naming who saved, when, and in which record.
"""

from collections.abc import Sequence

from ..errors import ConflictError
from .log import Record, live
from .names import same_but_for_case


def taken(
    records: Sequence[Record], kind: str, key: str, *, content_key: str | None, object_id: str | None
) -> Record | None:
    """The record that already says what is to be saved, or None if the key is free.

    Parameters
    ----------
    records : the log
    kind, key : what is to be saved
    content_key : hash of what it was made from, None for sessions
    object_id : of the content; None while it is not known, then only ``content_key`` and case are compared

    Raises
    ------
    ConflictError : the key is taken by other content, or differs from a taken one only in case
    """
    names = live(records)
    other = same_but_for_case(key, [name for record_kind, name in names if record_kind == kind])
    found = names.get((kind, key)) or (names[kind, other] if other else None)
    if found is None:
        return None
    by = f"saved by {found['user']} on {found['host']} at {found['time']} (log record {found['number']})"
    if found["key"] != key:
        raise ConflictError(
            f"the {kind} {key!r} differs only in case from {found['key']!r}, {by}. "
            f"Use that name, or one that people can tell from it."
        )
    if (content_key is not None and found["content_key"] == content_key) or found["object"] == object_id:
        return found
    if object_id is None:
        return None
    raise ConflictError(
        f"the {kind} {key!r} is there already with other content, {by}. What is saved never changes: "
        f"save under another name, or use the stored one, store.{kind}({key!r})."
    )
