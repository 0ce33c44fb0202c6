"""The words that the demo's rule book (`wording.py`) looks for: English, lower case, phrases of up to five words."""

WORDINGS: dict[str, frozenset[str]] = {
    name: frozenset(" ".join(phrase.split()) for phrase in phrases.split(","))
    for name, phrases in {
        "feeling_phrases": """it sounds like, it sounds as if, sounds like, that sounds, this sounds, it seems,
            seems to, you feel, you felt, you're feeling, you are feeling, must be, must feel, must sting, no
            wonder, part of you, makes sense, made sense, of course you're, of course you are, i can hear, i can
            feel how, i can see why, heavy thing, a lot to carry, how hard, how painful, how lonely""",
        "feeling_words": """afraid, alone, angry, anger, anxious, ashamed, shame, awful, bitter, broken, confused,
            crushed, desperate, disappointed, disappointing, dread, embarrassed, empty, emptiness, envy, exhausted,
            exhausting, fear, fears, frightened, frightening, frustrated, frustrating, furious, grief, guilt,
            guilty, hard, heartbroken, heavy, helpless, hope, hopeless, hurt, hurts, hurting, invisible, jealous,
            lonely, loneliness, longing, lost, love, miserable, missing, nervous, numb, overwhelmed, overwhelming,
            pain, painful, proud, relief, relieved, rotten, sad, sadness, scared, scary, sore, stressed, stressful,
            stuck, tender, tense, terrified, terrifying, tired, tiring, torn, tough, uneasy, upset, upsetting, worn,
            worried, worry""",
        "warmth": """i'm so sorry, i'm sorry, i am sorry, i am so sorry, so sorry, i'm glad, i'm really glad, i am
            glad, i'm so glad, i'm happy to, happy to listen, here for you, i'm here, i am here, i'm with you, i'm
            listening, i'd like to hear, i'd love to hear, thank you for, thanks for telling, thanks for sharing, it
            means a lot, no judgement, no judgment, no wonder, makes sense, understandable, understandably, of
            course you're, that must, it must, must have been, must be, how hard, how painful, oh no, ouch, ugh,
            take your time, as long as you, keep you company, there's room for, my heart, heart goes out, i can
            hear, i hear you, i hear how, i can imagine, safe place, gentle with yourself, kind to yourself,
            kindness, not alone, i care, it's okay to, it's ok to, it's alright to, i appreciate, i feel for you""",
        "affirmation": """courage, courageous, brave, bravery, strength, honest, honesty, grit, nerve, patience, you
            care, you clearly care, you clearly love, you love, you noticed, you managed, you handled, you stood,
            you earned, hard earned, well done, proud of, generous, loving, that takes, you've worked, you've tried,
            you tried, you're trying, you are trying, thoughtful, good at, good parent, good friend, determined,
            determination, resilient, resilience, effort, humour, humor, you're strong, so strong, are strong,
            yourself credit, you hold, you held, you didn't give up, your kindness""",
        "autonomy": """up to you, your call, your choice, your decision, yours to decide, yours to choose, yours to
            make, is yours, are yours, you decide, you choose, you can decide, you get to, your own pace, your pace,
            your own way, in your own time, take the time you need, you don't have to, you don't need to, no need
            to, if you'd like, if you like, if you want, if you wish, only if, whichever, nobody else gets to, no
            pressure, no right or wrong, no wrong answer, no deadline, feel free to say no, please say no, you can
            tell me, you know best, you'll know, for you to decide, nobody else has to, you are free to, you're free
            to, whenever you're ready, whatever you decide, whatever you feel, whatever you choose, whether you do,
            whether or not you""",
        "permission": """would you like to hear, would you like me to, would you want to hear, would you want me to,
            if you'd want to hear, if you'd like to hear, if you'd like it, would it be okay if, would it be ok if,
            is it okay if, is it ok if, is it all right if, would it help if, would it help to hear, it be of any
            use, would it be useful, would you be open to, are you open to, would you mind if, do you mind if, want
            me to, do you want me to, shall i, should i tell you, may i, might i, can i share, can i offer, can i
            suggest, can i mention, can i run, can i tell you, can i ask, could i share, could i offer, could i
            suggest, could i mention, could i tell you, could i run, i could suggest, i could offer, i could share,
            i can share, if you'd like i, do you fancy hearing, interested or, it be all right if, it be alright if,
            you be all right with, you be okay with, you be ok with, do you want to hear, you like to hear about,
            you want to hear a, would you like some ideas, would you like a suggestion, be willing to hear, care to
            hear, be a relief to hear, would you be willing""",
        "invitation": """tell me more, tell me about, tell me what, tell me how, say more, more about it, more about
            what, i'd like to hear, i'd love to hear, want to talk about, like to talk about, like to tell me, want
            to tell me, want to share, like to share, could you share, can you share, can you tell me, could you
            tell me, help me understand""",
        "advice": """have you tried, have you thought, have you considered, you might want, you may want, you might
            consider, you can try, you'd do better, you'd be better, why don't you, what about trying, i suggest, i
            would suggest, i'd suggest, i recommend, i would recommend, i'd recommend, i advise, my advice, if i
            were you, it might help to, it may help to, it can help to, it helps to, it can be helpful, it might be
            helpful, it may be helpful, it's helpful to, it would help to, one thing you, one way to, another way,
            another thing, some tips, some ways, some steps, some strategies, some suggestions, a few tips, a few
            things you, here are some, here are a few, there are groups, does wonders, did wonders, do wonders,
            works best, usually works, that works, the best way, a good idea to, seek help, seek professional, a
            therapist, a counselor, a counsellor, professional help, support group, support groups, consider
            talking, consider seeking, reach out to, speak to a, speak with a, talk to someone, next time, step by
            step, self care, deep breaths, take breaks, take a break, you could try, you could also, you could
            start, you could just, you could do, you could ask, you could talk, you could make, you could use, you
            could write, you could take, you could consider, you could teach, you could join, you could always,
            maybe you could, perhaps you could, you can start by, you can also try, you can do to, how about trying,
            how about you try, why not try, you'd want to talk, what i'd do""",
        "obligation": """you should, you shouldn't, you must, you mustn't, you need to, you have to, you've got to,
            you ought to, you really ought, you really should, you really need, you had better, you'd better, you
            better, you just need, you just have, you will need to, you'll need to, you'll have to, that's an order,
            no exceptions, simply stop""",
        "obligation_exceptions": """you must be, you must feel, you must have, you must miss, you must still, you
            should be proud, you need to vent, you need to talk, says you should, say you should, said you should,
            think you should, you need to say""",
        "confrontation": """your fault, your own fault, you are the one who, to blame, nobody forced you, no one
            forced you, to be fair, you should have, you shouldn't have, if you never, you didn't bother, you can't
            expect, you can't be upset, you can't complain, you could at least, the least you, what did you expect,
            you must realise, you must realize, deep down you, so obviously, to hide from, excuses you, selfish,
            stupid of you, dramatic, absurd, reckless, childish, immature, ridiculous, pathetic, hypocrisy,
            wallowing, doormat, spying, not honest, grow up, pull yourself together, stop whining, stop complaining,
            stop feeling sorry, stop needing, your problem is, the problem is you, you're overreacting, you are
            overreacting, be grateful, more gratitude, has no business, not about you, make it about you, unfair to,
            no business, is being rude, worse than rude, a bit crazy, you're wrong, you are wrong, you sound as if,
            you seem to enjoy, that's on you, hardly blame, only yourself to blame, you never listen, you always do
            this, brought this on yourself, brought it on yourself, you knew perfectly, to ask yourself, it's lazy,
            just lazy, being lazy, being silly, just an excuse, making excuses, hardly a tragedy, part of you
            enjoys, is hiding, isn't pretty, honestly you, were you thinking, can i be honest, to be honest with
            you, going to be direct, to be blunt, for being blunt, take it the wrong way, take this the wrong way,
            has a point, don't want to hear it, someone has to, i say this as, no offence but, what was the point,
            made up your mind, avoidance, isn't a great example, lying to""",
        "warning": """careful, be careful, watch out, beware, you'll fail, you will fail, you'll lose, you will
            lose, you'll end, you'll regret, will regret, will never, won't ever, may never, never forgive, poisons,
            before it's too late, too late, for the rest of, gets worse, get worse, getting worse, downhill,
            dangerous, deadly, danger, could be killed, the risks, at risk, consequences, sign of addiction,
            marriages end, mark my words, if you keep, if you carry on, if you don't stop, carry on and, or you'll,
            or they'll, or he'll, or she'll, you might be out, will be gone, will be out, keep an eye on, don't
            assume, have a plan ready, prepare yourself, prepare to, how that ends, this ends, that ends, finishes
            off, one conviction, reported for, people relapse, cause of relapse, fall into a hole, more expensive
            by, every alcoholic, puts you at risk, only get worse, get killed, mean to frighten, want to scare,
            worried for you, i'd worry, years from now, go badly wrong, decline fast""",
        "minimising": """at least, it's only, it is only, it's just, it is just, just a, just think, just relax,
            just stop, just be, just keep, just try, just get, don't worry, no need to worry, not worry too much,
            calm down, cheer up, chin up, hang in there, keep believing, get over it, move on, let it go, could be
            worse, others have it worse, people have it worse, many people would, lots of people would, lots of
            people, look on the bright, bright side, silver lining, everything happens, happens for a reason, meant
            to be, time heals, time will heal, get better with time, it will get better, it'll get better, things
            will get better, will be fine, you'll be fine, will be okay, will be alright, it will pass, this too
            shall, work out in the end, all work out, your time will come, fingers crossed, life goes on, must go
            on, the way life goes, as they say, rome wasn't built, everyone feels, everybody feels, everyone goes
            through, good company, big change for everybody, a hard field, nobody will mind, no big deal, not a big
            deal, the end of the world, not that bad, not so bad, isn't that bad, aren't that bad, you deserve
            someone better, new beginning, stay positive, think positive, be positive, positive side, we all have,
            we all go, relax it's, nothing to worry, not a real problem, some people have real""",
        "information": """studies, study, research, researchers, statistically, statistics, percent, per cent,
            surveys, survey, symptom, symptoms, diagnosed, diagnoses, disorder, syndrome, hormone, hormones,
            melatonin, brain, usually, typically, normally, tends to, tend to, is common, are common, common
            reaction, common experience, most people, many people, most countries, in most, rates, a quarter of,
            half of, one in, around half, according to, on average, is known, are known, is defined, is a condition,
            can be recognised, has to give you, by law, legally""",
        "lecture": """it's important to, it is important to, important to remember, it's essential, it is essential,
            it's crucial, it is crucial, it's vital, keep in mind, bear in mind, you have to understand, you must
            understand, you need to understand, the key is, the truth is, the fact is, it's normal to, it is normal
            to, it's natural to, it is natural to, it's common to, it's okay to feel, it's ok to feel, make sure
            you, make sure to, be sure to, try to focus, focus on the, learn from, opportunity to, a learning
            experience, valuable lesson, life is about, always remember, as the saying goes, in conclusion, overall,
            additionally, furthermore, moreover, but remember that, please remember that, remember that you""",
        "stock_phrase": """sorry to hear that, sorry to hear about, sorry for your loss, sorry you're going through,
            that you're going through, you're feeling this way, you're going through a, i understand how you, i
            understand that you, i understand your, a difficult time, a tough time, a hard time, a challenging time,
            a tough situation, a difficult situation, your feelings are valid, feelings are valid, perfectly normal,
            completely normal, you are not alone, you're not alone, thank you for sharing, thanks for sharing, i'm
            here to help, i'm here to listen, i'm here to support, everything will be, hang in there, there is help,
            things get better, let me know if, i hope this helps, i hope that helps, one day at a time, here for you
            if, always here for you""",
        "list_words": """first of all you, firstly, secondly, thirdly, first second, step one, step 1, the
            following, tips for, steps to take, ways to, here are some, here are a few, here's a list, a list of""",
        "machine_talk": """as an ai, an ai, language model, ai assistant, ai language, virtual assistant, chatbot, a
            bot, i was programmed, my training, my programming, i don't have feelings, i don't have personal, i do
            not have personal, i can't assist, i cannot assist, i can't help with, i'm unable to, i am unable to,
            the user, the seeker, best regards, kind regards, sincerely, how can i assist, how can i help you, how
            may i help, i can help you with, feel free to ask, i'd be happy to help, would be happy to help, happy
            to help, sure here""",
        "own_story": """i was, i had, i lost, i went, i felt, i used to, i once, i remember, i know how you feel, i
            know exactly how, i've been, i have been, my father, my mother, my mum, my mom, my dad, my sister, my
            brother, my grandmother, my grandfather, my aunt, my uncle, my wife, my husband, happened to me, me too,
            same here, years ago i, we moved, i turned, i moved, i drove, i chewed, when i was, a friend of mine, my
            first, my eldest""",
        "plea": """can you help me, could you help me, please help me, please help, i need help, i need advice, i
            need your, i don't know what to, i do not know what, what should i do, what do i do, what can i
            do, i'm not sure what to, i'm struggling, i am struggling, i'm feeling, i am feeling, i feel like i,
            i feel so, i can't sleep, i can't stop""",
        "asks_for_advice": """what should i, what do i do, what can i do, what would you do, should i, any advice,
            any tips, any ideas, any suggestions, how do i, how can i, how should i, what do you suggest, what do
            you recommend, what now""",
        "helper_words": """sorry, glad, hear, hearing, listen, listening, wonder, wondering, imagine, hope, thank,
            thanks, guess, suppose, offer, share, suggest, happy, here, appreciate, understand, i get, i see, i can,
            i could, i'd, i'll, i love, i believe, i know""",
        "imperatives": """accept, add, admit, allow, answer, apologise, apologize, apply, ask, avoid, be, begin,
            block, book, break, breathe, bring, buy, call, cancel, change, check, choose, clean, clear, close,
            confront, consider, consult, contact, cook, create, cut, delete, demand, do, don't, download, drink,
            drive, drop, eat, embrace, encourage, end, enjoy, ensure, establish, exercise, explain, express, face,
            file, find, focus, follow, forget, forgive, get, give, go, grab, hand, have, help, hire, hold, identify,
            ignore, invite, join, keep, learn, leave, let, limit, list, listen, look, make, meet, move, never, note,
            offer, open, paint, pay, phone, pick, plan, play, practice, practise, prepare, prioritise, prioritize,
            pull, put, quit, reach, read, remember, remove, report, rest, rewrite, ring, say, see, seek, sell, send,
            set, show, sign, sit, sleep, spend, stand, start, stay, stick, stop, study, switch, take, talk, tell,
            think, throw, tidy, tip, treat, trust, try, turn, use, visit, volunteer, wait, walk, watch, work, write,
            relax, lower, raise, hide, act""",
        "imperative_exceptions": """take your time, take all the, take the time, tell me, let me, say more, help me
            understand, feel free, take care, see you, do you, does it, have you, do they, do any, keep up, keep
            going, hold on, rest assured, thank you, have a, say the word, say no, say so, stop me, think of me,
            look at you, don't be so hard""",
        "not_imperative_before": """is, was, are, were, must, can, could, will, would, and, or, of, has, had, you,
            i, that's, isn't, doesn't, sounds, seems, feels""",
        "sentence_openers": """please, so, but, well, then, now, first, also, maybe, perhaps, just, simply, next,
            time""",
        "open_words": "what, how, which, where, who, why, when, what's, how's, whose, where's",
        "you_words": "you, your, yours, yourself, you're, you've, you'll, you'd",
        "me_words": "i, i'm, i've, my, myself",
        "small_words": """a, an, the, and, or, but, if, so, as, of, to, in, on, at, by, for, with, from, about,
            into, out, up, down, over, off, after, before, than, then, that, this, these, those, there, here, it,
            its, it's, is, are, was, were, be, been, being, am, do, does, did, don't, have, has, had, will, would,
            can, could, should, may, might, must, not, no, nor, i, i'm, i've, i'd, i'll, me, my, we, our, us, you,
            your, you're, you've, you'd, you'll, yours, he, him, his, she, her, hers, they, them, their, who, whom,
            what, which, when, where, why, how, all, any, some, one, more, most, much, many, very, too, just, only,
            even, still, also, again, now, that's, what's, there's, let, let's, because, while, until, through,
            like, really, yes""",
        "everyday_words": """able, always, another, anything, back, bad, bit, came, come, coming, day, days, didn't,
            doesn't, doing, done, each, else, enough, ever, every, everyone, everything, feel, feeling, feelings,
            feels, felt, find, first, get, gets, getting, give, go, goes, going, gone, good, got, happen, happened,
            help, isn't, it'll, keep, kind, know, last, least, less, life, little, long, look, lot, made, make,
            makes, making, maybe, mean, means, mind, moment, myself, need, never, new, nice, night, nothing, oh,
            often, old, once, other, others, own, part, people, person, place, put, quite, rather, right, said,
            same, say, see, seem, seems, share, since, situation, someone, something, sometimes, sorry, sound,
            sounds, still, support, sure, take, takes, taking, talk, tell, thank, thing, things, think, thought,
            time, times, today, told, tried, try, trying, turn, understand, used, wanted, want, wants, wasn't, way,
            week, well, went, without, won't, wonder, words, work, wouldn't, year, years, yourself, can't, couldn't,
            he's, she's, they're, we're, i'd, haven't, hasn't, hear""",
    }.items()
}

SAME_WORDS: tuple[str, ...] = (
    "mother mum mom mam mama mommy mummy",
    "father dad papa daddy",
    "wife husband spouse partner girlfriend boyfriend",
    "job work working workplace office",
    "boss manager supervisor",
    "child children kid kids",
    "son boy",
    "daughter girl",
    "colleague colleagues coworker coworkers",
    "friend friends friendship",
    "sleep sleeping slept asleep sleepless",
    "cry crying cried tears",
    "dead died death dying die",
    "wedding married marriage marry",
    "drink drinking drank drunk",
    "eat eating ate",
    "exam exams test tests",
    "money debt loan cash",
    "two twice 2",
    "three 3",
    "four 4",
    "five 5",
    "six 6",
    "seven 7",
    "eight 8",
    "nine 9",
    "ten 10",
    "eleven 11",
    "twelve 12",
    "fourteen 14",
    "forty 40",
)
"""Words that count as one content word when a reply takes up the message."""

TURNED = {
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "i'm": "you're",
    "i've": "you've",
    "i'd": "you'd",
    "i'll": "you'll",
    "am": "are",
    "im": "you're",
    "ive": "you've",
    "id": "you'd",
    "we": "you",
    "our": "your",
}
"""What a copy says that only swaps the person."""
