"""From the catalogue to Feast's objects: an entity per grain, a view per pair of files, a service per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, Int64, String

from features.catalog import View

MOMENT, CREATED = "event_timestamp", "created_at"
_TYPES = {"Int64": Int64, "Float64": Float64, "String": String}


def pattern(snapshots: Path, view: str) -> str:
    """The files of a view. Names begin with a digit: DuckDB's ``*`` would also find a half-written ``.partial-`` file."""
    return str(snapshots.resolve() / view / "[0-9]*.parquet")


def definitions(snapshots: Path, views: Sequence[View], services: Mapping[str, Mapping[str, Sequence[str]]]) -> list[Any]:
    """Feast's objects.

    Args:
        snapshots: folder of the snapshots, one sub-folder per view.
        views: the catalogue.
        services: task -> view -> columns; a task is left out unless all its views are there.
    """
    entities = {name: Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING) for name in sorted({view.entity for view in views})}
    made = {view.name: _view(snapshots, view, entities[view.entity]) for view in views}
    return [
        *entities.values(),
        *made.values(),
        *(
            FeatureService(name=task, features=[made[view][list(columns)] for view, columns in groups.items()])
            for task, groups in services.items()
            if set(groups) <= set(made)
        ),
    ]


def _view(snapshots: Path, view: View, entity: Entity) -> FeatureView:
    fields = [Field(name=each.name, dtype=_TYPES[each.dtype], description=each.description, tags={"unit": each.unit}) for each in view.columns]
    source = FileSource(
        name=f"{view.name}_snapshots",
        path=pattern(snapshots, view.name),
        file_format=ParquetFormat(),
        timestamp_field=MOMENT,
        created_timestamp_column=CREATED,
    )
    return FeatureView(
        name=view.name,
        entities=[entity],
        ttl=timedelta(days=view.ttl_days),
        schema=[Field(name=f"{view.entity}_id", dtype=String), *fields],
        source=source,
        description=view.description,
        tags={"class": view.kind},
    )
