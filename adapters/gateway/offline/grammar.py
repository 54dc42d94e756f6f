"""Patterns of plain English about tasks: the vocabulary of the offline model."""

import re

_ORDINALS = (
    ("one", "first"),
    ("two", "second"),
    ("three", "third"),
    ("four", "fourth"),
    ("five", "fifth"),
    ("six", "sixth"),
    ("seven", "seventh"),
    ("eight", "eighth"),
    ("nine", "ninth"),
    ("ten", "tenth"),
)
NUMBERS = {word: number for number, words in enumerate(_ORDINALS, start=1) for word in words}
CARDINAL = r"(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten)"
ORDINAL = r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|latest|newest)"
NOUN = r"(?:tasks?|to-?dos?|to do|items?|reminders?|entr(?:y|ies))"
LIST = rf"(?:(?:to-?do|to do|task|tasks|shopping|grocery)\s*)?(?:list|{NOUN})"
ON_LIST = rf"\s+(?:to|on|in|into|onto|from|off|of)\s+(?:my|the|our|this)\s+{LIST}$"
AS_TASK = rf"\s+as\s+an?\s+(?:new\s+)?{NOUN}$"
POLITE_START = re.compile(
    r"^(?:(?:please|pls|kindly|now|so|ok(?:ay)?|hey|hi|hello|well|great|and|then|also|just|actually"
    r"|first|finally|next|thanks|thank you|(?:can|could|would|will) you|(?:can|could|may) i"
    r"|i(?:'d| would) like (?:you )?to|i(?:'d| would) like|i want (?:you )?to|i need you to"
    r"|let'?s|let me|help me(?: to)?|go ahead and|you can|you should"
    r"|i wan(?:t to|na)|(?:do )?me a favou?r and)\b[\s,:!.]*)+",
    re.I,
)
POLITE_END = re.compile(
    r"(?:[\s,.!?;]+|\b(?:please|pls|thanks|thank you|now|for me|right away|as well|too)\s*)+$", re.I
)
VERBS = (
    r"add|create|put|remind me|new task|list|show|display|mark|set|tick|check|complete|finish|close"
    r"|delete|remove|erase|drop|cancel|update|rename|change|edit|modify"
)
TARGETED = (
    rf"(?:(?:the|my|all|it|that|this|task|tasks|item|todo|number|off|me|as)\b|#?{CARDINAL}\b)"
)
JOINT = re.compile(
    r"\s*(?:[,;.]\s*(?:and\s+then|and\s+also|and|then|also)?|\n+|\band\s+then\b|\band\s+also\b"
    r"|\band\b|\bthen\b|\bplus\b)\s+(?:please\s+|also\s+)?"
    rf"(?=(?:list$|(?:add|create|remind me|new task|put)\s|(?:{VERBS})\s+{TARGETED}))",
    re.I,
)
FIELD = r"(?:title|name|text|description|wording)"
UPDATE = [
    re.compile(pattern, re.I)
    for pattern in (
        rf"^(?:update|change|edit|modify|set|rename|retitle|reword|replace|make)\s+(?:the\s+)?{FIELD}"
        rf"\s+(?:of|for|on)\s+(?P<ref>.+?)\s+(?:to|as|into|with|:|=)\s*(?P<title>.+)$",
        rf"^(?:update|change|edit|modify|set|rename|retitle|reword|replace)\s+(?P<ref>.+?)"
        rf"(?:'s)?(?:\s+{FIELD})?(?:\s+(?:to(?:\s+(?:say|be|read))?|as|into|with|so it says)\s+"
        rf"|\s*(?::|=|->|→)\s*)(?P<title>.+)$",
        rf"^(?:rename|retitle|call|update)\s+(?P<ref>(?:{NOUN}\s+)?(?:number\s+)?#?{CARDINAL})"
        rf"\s+(?P<title>.+)$",
        rf"^(?P<ref>{NOUN}\s+#?{CARDINAL})\s+should\s+(?:be(?:\s+called)?|say|read)\s+(?P<title>.+)$",
    )
]
DONE = r"(?:done|complete|completed|finished|closed|ticked off|checked off|checked)"
COMPLETE = [
    re.compile(pattern, re.I)
    for pattern in (
        rf"^(?:mark|set|flag|check|make)\s+(?:off\s+)?(?P<ref>.+?)\s+(?:as\s+|to\s+|to be\s+)?"
        rf"(?:{DONE}|off)$",
        rf"^(?:mark|set)\s+(?:as\s+)?{DONE}:?\s+(?P<ref>.+)$",
        r"^(?:complete|finish|close|resolve|check off|tick off|cross off|cross out"
        r"|tick|check|mark off)\s+(?:off\s+)?(?P<ref>.+)$",
        r"^i(?:'ve|\s+have|\s+am|'m)?\s+(?:just\s+|already\s+)*(?:did|done|finished|completed)"
        r"\s+(?:with\s+)?(?P<ref>.+)$",
        r"^(?:done|finished)\s+(?:with\s+)?(?P<ref>.+)$",
        rf"^(?P<ref>(?:the\s+)?(?:{NOUN}\s+)?(?:number\s+)?#?{CARDINAL}|it|that|the\s+.+\s+{NOUN})"
        rf"(?:'s|\s+is|\s+are)?\s+(?:now\s+|already\s+)?{DONE}$",
    )
]
DELETE = re.compile(
    r"^(?:delete|remove|erase|drop|cancel|discard|scratch|trash|clear|throw away|get rid of"
    r"|take off|forget(?: about)?)\s+(?P<ref>.+)$",
    re.I,
)
ASKS_LIST = [
    re.compile(pattern, re.I)
    for pattern in (
        r"^(?:list|show|display|view|see|print|read|get|give|tell|check|fetch|pull up|open"
        rf"|look at|review)\b.*\b(?:{NOUN}|list|everything|have to do|need to do|to do"
        r"|left|pending|done|finished)\b.*$",
        rf"^(?:what|which|whats|what's|how many|do i have|have i|are there|is there|any"
        rf"|anything|where)\b.*\b(?:{NOUN}|(?:my|the) list|have to do|need to do|must i do"
        r"|should i do|supposed to do|to do|left|pending|done|open|completed?|finished"
        r"|remaining|outstanding"
        r"|on my plate|(?:i|we) got)\b.*$",
        rf"^(?:(?:list|show|view|display)(?:\s+(?:all|them|me|it))*"
        r"(?:\s+(?:open|pending|remaining|completed|finished|done))?|(?:all\s+)?(?:of\s+)?"
        rf"(?:my\s+|the\s+)?(?:(?:open|pending|remaining|completed|finished|done)\s+)?"
        rf"(?:{NOUN}|{LIST}))$",
    )
]
IS_DONE = re.compile(r"\b(?:done|completed|finished|complete|accomplished|ticked off)\b", re.I)
IS_OPEN = re.compile(
    r"\b(?:pending|open (?!my|the)|unfinished|left|remaining|remain|outstanding|incomplete"
    r"|uncompleted|not (?:yet )?(?:done|completed?|finished)|still|undone"
    r"|(?:have|need|supposed|got) to do|must i do|should i do|on my plate"
    r"|todo$|active)\b|\bopen$|\bare open\b"
    r"|n't (?:done|completed|finished)",
    re.I,
)
ADD = [
    re.compile(pattern, re.I)
    for pattern in (
        rf"^(?:add|create|make|set up|write down|note down|jot down|save|record|log"
        r"|insert|schedule)\s+"
        rf"(?:(?:an?|another|one more|the|these|following|{CARDINAL})\s+)*"
        rf"(?:new\s+|follow-?up\s+)?{NOUN}\b"
        rf"(?:{ON_LIST[:-1]})?"
        r"\s*(?:(?:called|named|titled|that says|saying|for me to"
        r"|with (?:the )?(?:title|name)(?: of)?|to|for|about|of)\b\s*)?[:\-\u2013]?\s*"
        r"(?P<title>.+)$",
        rf"^(?:new|another)\s+{NOUN}\b(?:\s*(?:called|named|titled|to|for)\b)?\s*[:\-\u2013]?"
        r"\s*(?P<title>.+)$",
        rf"^(?:{NOUN})\s*[:\-\u2013]\s*(?P<title>.+)$",
        rf"^(?:add|put|place|insert|write|get|note|save|stick|throw|include)\s+"
        rf"(?P<title>.+?)(?:{ON_LIST}|{AS_TASK})",
        rf"^(?:add|put)\s+(?:to|on)\s+(?:my|the)\s+{LIST}\s*:?\s+(?P<title>.+)$",
        r"^remind me\s+(?:that\s+(?:i\s+(?:have|need)\s+to\s+)?|to\s+|about\s+)?(?P<title>.+)$",
        r"^(?:don'?t|do not|never) (?:let me )?forget\s+(?:to\s+|about\s+)?(?P<title>.+)$",
        r"^(?:(?:i )?need to|i (?:have|ought|must remember|should remember) to"
        r"|i (?:must|should|gotta)"
        r"|i'?ve got to|remember to|note to self:?)\s+(?P<title>.+)$",
        r"^add\s*[:\-\u2013]?\s+(?P<title>.+)$",
    )
]
PLURAL = re.compile(
    r"^(?:add|create)\s+(?:the\s+|these\s+|\w+\s+)?(?:new\s+)?(?:tasks|todos|items)\b", re.I
)
WHICH = re.compile(
    rf"^(?:the\s+|my\s+)?(?:{NOUN}\s+)?(?:numbers?\s+|no\.?\s*|nr\.?\s*)?"
    rf"(?P<numbers>#?{CARDINAL}(?:\s*(?:,\s*and|,|and|&|\+)\s*(?:{NOUN}\s+)?#?{CARDINAL})*)"
    rf"(?:st|nd|rd|th)?(?:\s+{NOUN})?$",
    re.I,
)
POSITION = re.compile(
    rf"^(?:the\s+|my\s+)?(?P<position>{ORDINAL})\s*(?:{NOUN}|one|thing)?"
    r"(?:\s+(?:I|you) (?:just )?added)?$",
    re.I,
)
IT = re.compile(
    rf"^(?:it|this|that|them|(?:this|that|the same|the)\s+(?:{NOUN}|one))"
    r"(?:\s+one)?(?:\s+again)?$",
    re.I,
)
ALL = re.compile(
    rf"^(?:all|everything|every\s+{NOUN}|each\s+{NOUN}|(?:my|the)\s+(?:whole\s+|entire\s+)?{LIST})"
    rf"(?:\s+(?:of\s+)?(?:my|the|them))*(?:\s+(?P<status>done|completed?|finished|pending|open))?"
    rf"(?:\s+{NOUN})?$",
    re.I,
)

QUOTES = " \t\"'`\u201c\u201d\u2018\u2019"
