#compdef ndshm
# Completion of ndshm in zsh: commands, options, arrays, stores and files.
_ndshm() {
    local -a candidates open closed
    candidates=("${(@f)$("${(Q)words[1]}" __complete zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    # Behind a store or a directory the word goes on.
    open=(${(M)candidates:#*/})
    closed=(${candidates:#*/})
    closed=(${closed:#})
    if (( $#open + $#closed == 0 )); then
        _files
        return
    fi
    (( $#open )) && compadd -S '' -- "${open[@]}"
    (( $#closed )) && compadd -- "${closed[@]}"
    return 0
}
if [ "$funcstack[1]" = "_ndshm" ]; then
    _ndshm "$@"
else
    compdef _ndshm ndshm
fi
