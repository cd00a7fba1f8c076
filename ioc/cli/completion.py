"""``pebbledaq completion``: what makes a shell complete the command line."""

import click

_VARIABLE = "_PEBBLEDAQ_COMPLETE"
_HOW = {
    "bash": 'eval "$(pebbledaq completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(pebbledaq completion zsh)" in ~/.zshrc, after compinit',
    "fish": "pebbledaq completion fish | source in ~/.config/fish/config.fish",
}


@click.command("completion", epilog="\b\n" + "\n".join(f"{shell:5} {line}" for shell, line in _HOW.items()))
@click.argument("shell", type=click.Choice(list(_HOW)))
def command(shell: str) -> None:
    """Print the script that completes commands, options, configurations, detector folders and modules in SHELL."""
    from click.shell_completion import get_completion_class

    from ioc.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    print(found(cli, {}, "pebbledaq", _VARIABLE).source())
