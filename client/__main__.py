"""`alidade`, also as `python -m client`."""


def main() -> None:
    from client.commands import app  # noqa: PLC0415

    app()


if __name__ == "__main__":
    main()
