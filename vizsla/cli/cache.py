"""``vizsla cache``: what is kept between runs."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)


@app.command()
def cache(
    bound_gb: float | None = typer.Option(
        None, "--bound", min=0, help="Remove what was used longest ago until so many GB are left."
    ),
    clear: bool = typer.Option(False, "--clear", help="Remove everything. Models keep their own copy."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Show, bound or clear what is kept: features, backbones, pictures for training, sources fetched or unpacked.

    Everything here can be computed again and may be deleted at any time. VIZSLA_CACHE_GB (20) is the bound that
    every run keeps to. Of a cache in a bucket, what is on this machine: the bucket is left as it is.
    """
    from dataclasses import asdict
    from datetime import datetime

    from vizsla.cache import bound, sources, stores
    from vizsla.cache import clear as clear_all
    from vizsla.cli.console import print_json, results, titled_table
    from vizsla.files import check_folder
    from vizsla.settings import settings
    from vizsla.training.cache import usage

    s = settings()
    check_folder(s.cache)
    removed = clear_all(s.cache) if clear else 0
    if bound_gb is not None:
        removed += bound(s.cache, int(bound_gb * 1e9))
    spaces = usage(s.cache)
    out = results(as_json)
    table = titled_table(f"Kept in {s.cache}", "backbone", "weights", ">features of", ">MB", "last used")
    for space in spaces:
        used = datetime.fromtimestamp(space.last_used).strftime("%Y-%m-%d %H:%M") if space.last_used else "never"
        what = "the backbone itself" if space.pictures is None else f"{space.pictures:,} pictures"
        table.add_row(space.backbone, space.weights, what, f"{space.bytes / 1e6:,.1f}", used)
    out.print(table)
    folders = sources(s.cache)
    if folders:
        table = titled_table("Sources", "source", "kept as", ">MB", "last used")
        for source in folders:
            used = datetime.fromtimestamp(source.last_used).strftime("%Y-%m-%d %H:%M")
            folder = str(source.path.relative_to(s.cache))
            table.add_row(source.source, folder, f"{source.bytes / 1e6:,.1f}", used)
        out.print(table)
    kept = stores(s.cache)
    if kept:
        table = titled_table("For training backbones", "what", ">files", ">MB", "last used")
        for store in kept:
            used = datetime.fromtimestamp(store.last_used).strftime("%Y-%m-%d %H:%M")
            table.add_row(store.holds, f"{store.files:,}", f"{store.bytes / 1e6:,.1f}", used)
        out.print(table)
    total = sum([*(space.bytes for space in spaces), *(one.bytes for one in folders), *(one.bytes for one in kept)])
    out.print(f"{total / 1e9:.3f} GB of at most {s.cache_bytes / 1e9:g} GB (VIZSLA_CACHE_GB).")
    if removed:
        out.print(f"{removed / 1e6:,.1f} MB removed.")
    if s.cache_bucket:
        out.print(f"Features, backbones and scans are in {s.cache_bucket}, too: what lacks here is fetched from there.")
    if as_json:
        print_json(
            {
                "cache": str(s.cache),
                "bucket": s.cache_bucket,
                "bytes": total,
                "bound": s.cache_bytes,
                "removed": removed,
                "spaces": [
                    {name: getattr(space, name) for name in ("backbone", "weights", "pictures", "bytes", "last_used")}
                    for space in spaces
                ],
                "stores": [asdict(store) for store in kept],
                "sources": [asdict(source) | {"path": str(source.path)} for source in folders],
            }
        )
