"""``bota-gateway completion``: what makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_BOTA_GATEWAY_COMPLETE"
"""Where click looks for a shell's questions: the program's name in its own spelling."""

_LOADED = "$zsh_eval_context[-1] == loadautofunc"
_CALLED = "$zsh_eval_context[-1] == (loadautofunc|shfunc)"
"""zsh loads the file at the first TAB and calls it as a function at the second. click knows the first of them only, so
that once in each shell a TAB would do nothing."""


@click.command(short_help="Print what makes bash or zsh complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    \b
    bash: bota-gateway completion bash | sudo tee /usr/share/bash-completion/completions/bota-gateway
    zsh:  bota-gateway completion zsh | sudo tee /usr/share/zsh/vendor-completions/_bota-gateway
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "bota-gateway", _VARIABLE).source().replace(_LOADED, _CALLED))
