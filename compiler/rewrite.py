"""The driver of all graph rewriting: rules dispatched by op, bottom-up, to a fixpoint.

A rule is rule(node) -> Node | None: None when it has nothing to say, else a node of the same dtype
and shape that means the same. Rules see sources already in normal form, and what they build is
brought to normal form in turn. No recursion, so graphs may be as deep as they like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flambeau.compiler.node import Node, rebuild, toposort

Rule = Callable[[Node], Node | None]
Rules = Mapping[str, tuple[Rule, ...]]

_FUEL = 200  # rule firings an original node may cost; more means rules that undo each other


def rewrite(roots: Iterable[Node], rules: Rules) -> list[Node]:
    """The normal forms of roots under rules. Keeps user lines and computed values on new nodes."""
    roots = list(roots)
    order = toposort(roots)
    work = _Work(rules, _FUEL * (len(order) + 50))
    done = work.done
    for n in order:
        if n not in done:
            work.visit(n)
    return [done[r] for r in roots]


def _is_real(n: Node) -> bool:
    """Rules are written for real numbers; complex ones are taken apart first (planes.py)."""
    return not (n.dtype.is_complex or (n.src and n.src[0].dtype.is_complex))


class _Work:
    """One rewriting: normal forms found so far, and the fuel left."""

    def __init__(self, rules: Rules, fuel: int) -> None:
        self.rules = rules
        self.fuel = fuel
        self.done: dict[Node, Node] = {}

    def visit(self, n: Node) -> None:
        """Normal form of a node whose sources are done."""
        found = self.step(n)
        if found is not None:
            self.settle(found)
            self.finish(n, found)

    def step(self, n: Node) -> Node | None:
        """n over its normal sources, if that is normal: else what a rule makes of it."""
        done = self.done
        m = n
        for s in n.src:
            if done[s] is not s:
                m = rebuild(n, tuple([done[s] for s in n.src]))
                if m in done:
                    self.finish(n, m)
                    return None
                break
        for rule in self.rules.get(m.op, ()) if _is_real(m) else ():
            found = rule(m)
            if found is not None:
                self.check(m, found, rule)
                return found
        if m is not n:
            done[m] = m
            self.finish(n, m)
        else:
            done[n] = n
        return None

    def finish(self, n: Node, found: Node) -> None:
        """n's normal form is found's; it inherits what is known about n."""
        normal = self.done[n] = self.done[found]
        if normal.src and normal is not n:
            if normal.where is None:
                normal.where = n.where
            if normal.value is None:
                normal.value = n.value

    def settle(self, first: Node) -> None:
        """Brings a freshly built node, and whatever is fresh below it, to normal form."""
        done = self.done
        forward: dict[Node, Node] = {}
        stack = [first]
        while stack:
            n = stack[-1]
            if n in done:
                stack.pop()
                continue
            target = forward.get(n)
            if target is not None:
                if target in done:
                    self.finish(n, target)
                else:
                    self.burn(n, "a rule")
                    stack.append(target)
                continue
            waiting = [s for s in n.src if s not in done]
            if waiting:
                stack.extend(waiting)
                continue
            found = self.step(n)
            if found is not None:
                forward[n] = found

    def check(self, n: Node, found: Node, rule: Rule) -> None:
        name = getattr(rule, "__name__", "rule")
        if found.shape != n.shape or found.dtype is not n.dtype or found is n:
            raise AssertionError(f"rewrite: {name}: expected a node like {n!r}, got {found!r}")
        self.burn(n, name)

    def burn(self, n: Node, name: str) -> None:
        self.fuel -= 1
        if self.fuel < 0:
            raise AssertionError(f"rewrite: {name} goes in circles at {n!r}")
