"""Expressions for what is said to take an agent over: English, and the sentences that are met most
in seven other languages. They are compared without regard to case, white space being one space."""
# ruff: noqa: E501 - an expression that is cut into lines is harder to read than a long one

from __future__ import annotations

_DROP = r"(?:ignore|disregard|forget|override|overlook|neglect|bypass|do not follow|don'?t follow|stop following|pay no attention to)"
_TOLD = r"(?:instruct(?:ion|ions)|prompts?|rules?|guidelines?|directives?|directions|polic(?:y|ies)|restrictions?|constraints?|safeguards?|guardrails?|safety (?:rules?|measures|filters?)|programming|system (?:prompt|message|instructions?))"
_BEFORE = r"(?:previous|prior|earlier|preceding|above|foregoing|initial|original|existing|current|former|past|system|developer|your|these|those|safety)"
_HIDDEN = r"(?:system (?:prompt|message|instructions?)|(?:initial|original|hidden|secret|developer|previous|first) (?:prompt|instructions?|message))"
_SECRET = rf"(?:{_HIDDEN}|(?:prompt|instructions?) (?:above|you were given|given to you))"
# Rules of football may be forgotten.
_END = r"(?:$|[^\pL ]| (?:and|or|but|you|your|that|which|above|before|given|from|so|now|then|i|we|to|please)\b)"
PATTERNS = (
    # Ignore what you were told.
    rf"\b{_DROP}(?: (?:all|any|every|each|of|the|my|our|and|everything|whatever))* {_BEFORE}(?: (?:{_BEFORE}|and|or|set of|given|ai|safety))* {_TOLD}\b",
    rf"\b{_DROP} (?:all|any|every)(?: of)?(?: the| your| these| those)? {_TOLD}{_END}",
    rf"\b{_DROP} (?:all |any |everything |anything |whatever |what )*(?:of )?(?:the )?(?:above|before this|said before|(?:you were|you'?ve been|you have been|i) (?:told|instructed|taught)|that (?:came|was said) before|instructions? (?:above|before))\b",
    rf"\b{_TOLD} (?:above|before|so far)? ?(?:are|is) (?:now )?(?:void|cancel+ed|obsolete|no longer (?:valid|in force)|superseded|overridden)\b",
    r"\b(?:here are|these are|follow) (?:your|my|the) new (?:system )?(?:instructions|rules|directives)\b",
    r"\bnew (?:system )?instructions?(?: ?:|\n)",
    rf"\b{_DROP} (?:the|your)(?: current| own)? (?:rules|instructions|guidelines|restrictions|prompt)(?:$|[^\pL ]| and\b)",
    # Say what you were told.
    rf"\b(?:reveal|show|print|repeat|output|display|tell me|give me|leak|expose|write out|spell out|copy|recite|share|dump|disclose|return)(?: (?:me|us|out|all|the|your|entire|full|whole|exact|complete|verbatim|back|word for word|of))* {_SECRET}\b",
    rf"\bwhat (?:is|are|was|were) (?:your|the) (?:exact |full |entire )?{_HIDDEN}\b",
    rf"\b(?:repeat|print|output|show|display|write out|copy)(?: me)? (?:everything|all|all the text|the (?:whole |entire )?(?:text|words|content|prompt)) (?:above|before){_END}",
    rf"\b(?:reveal|show|print|repeat|output|display|tell|give|leak|expose)(?: me| us)? your (?:own |full |entire |exact )?(?:prompt|instructions){_END}",
    # Be somebody who was told nothing.
    r"\b(?:you are|you'?re|act as|become|be|enter|enable|activate|switch to|turn on)(?: now| going to be| from now on)*(?: in| into| to| an?| the)* (?:dan|stan|dude|aim|jailbr(?:eak|oken)(?: mode)?|unrestricted(?: ai| assistant| mode| model)?|unfiltered(?: ai| assistant| mode| model)?|uncensored(?: ai| assistant| mode| model)?|developer mode|god mode|debug mode|sudo mode|do anything now)\b",
    r"\bdo anything now\b",
    rf"\b(?:pretend|act|behave|answer|respond|imagine)(?: as if| as though| like| that| as an?)?(?: you| ai| assistant)*(?: have| had| has|with| are| were)* (?:no|not bound by|without|free (?:of|from)|no longer bound by)(?: any)?(?: ethical| moral| content| safety)? (?:{_TOLD}|limits|limitations|filters?|ethics)\b",
    r"\b(?:disable|turn off|switch off|deactivate|remove|circumvent|evade)(?: all| any| the| your| of)* (?:safety|content|ethical|moderation|security)[ -](?:filters?|rules?|guidelines?|restrictions?|protocols?|measures|guardrails?)\b",
    r"\bjailbreak(?: mode| prompt)\b",
    # Marks with which chat models tell apart who speaks.
    r"<\|(?:im_start|im_end|system|assistant|user|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|channel|message|start|end)\|>",
    r"\[/?inst\]|<</?sys>>|<start_of_turn>|<end_of_turn>|</?system>",
    r"(?:^|\n)\s*(?:#{2,} ?|\[)system(?: (?:prompt|message))?\]?(?: ?:|\n)",
    # The same elsewhere.
    r"\bignorier\w* (?:alle |die |deine |bitte |sämtliche )*(?:vorherigen |bisherigen |vorigen |obigen |früheren |vorangegangenen )*(?:anweisungen|instruktionen|regeln|vorgaben|befehle)",
    r"\bvergiss (?:alle |die |deine |alles,? )*(?:vorherigen |bisherigen |vorigen |obigen |früheren )*(?:anweisungen|instruktionen|regeln|vorgaben|was (?:dir|du))",
    r"\bignore[zr]? (?:toutes? |les |vos |tes )*(?:instructions|consignes|règles|directives)",
    r"\boublie[zr]? (?:toutes? |les |vos |tes )*(?:instructions|consignes|règles|directives)",
    r"\b(?:ignor[ae]|ignorar|olvida|olvide|olvidar) (?:todas? |las |tus |sus )*(?:instrucciones|indicaciones|reglas|órdenes)",
    r"\b(?:ignor[ae]|ignorar|esqueça|esquece) (?:todas? |as |suas |tuas )*(?:instruções|regras|ordens)",
    r"\b(?:ignora|dimentica) (?:tutte |le |tue |loro )*(?:istruzioni|regole|indicazioni)",
    r"(?:忽略|无视|忘记|忘掉)(?:所有|一切|全部|你|之前|先前|以上|上面|上述|此前|前面|的|掉|任何)*(?:指令|指示|提示|规则|命令|提示词)",
    r"(?:игнорируй|забудь)(?:те)? (?:все |всe |предыдущие |прежние |свои |прошлые )*(?:инструкции|указания|правила)",
)
