"""The words of the starter's little world: what customers write about, and what answers consist of. Data only.

`{item}`, `{day}`, `{city}` and `{color}` are slots; a reply repeats the slots of its message. `training.engine.domain`
puts the pieces together, `training.engine.reward` judges answers.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One reason to write to a shop."""

    name: str
    items: str  # key of ITEMS: what {item} may be here
    messages: tuple[str, ...]  # templates of what the customer writes
    helps: tuple[str, ...]  # concrete next steps that fit; any two of them go together
    about: str  # regex: a message with this is about the topic
    acts: str  # regex: a sentence with this, said as something done or to do, is a fitting step


# Few products, so that a tiny model can learn to repeat the right one.
GENERAL = ("lamp", "chair", "mug", "backpack", "tent", "mirror", "desk", "teapot")
DEVICES = ("kettle", "phone", "camera", "speaker", "watch", "printer")
CLOTHES = ("jacket", "shirt", "dress", "coat", "sweater")
ITEMS: dict[str, tuple[str, ...]] = {
    "any": (*GENERAL, *DEVICES, *CLOTHES),
    "device": DEVICES,
    "clothes": CLOTHES,
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CITIES = ("Berlin", "Paris", "Rome", "Madrid", "Oslo", "Vienna", "Dublin", "Lisbon", "Prague", "Athens")
COLORS = ("red", "blue", "green", "black", "white", "yellow", "grey", "brown")

TOPICS: tuple[Topic, ...] = (
    Topic(
        "late",
        "any",
        (
            "My {item} was due on {day} and it is still not here.",
            "Where is my {item}? It should have come on {day}.",
            "I am still waiting for the {item} I ordered last {day}.",
            "The delivery of my {item} is late again.",
            "The parcel with my {item} has not arrived.",
            "It says my {item} was delivered on {day}, but there is no parcel.",
        ),
        (
            "I have asked the carrier to find your parcel.",
            "I will send a new {item} by express today.",
            "You can follow the parcel with the tracking link in your email.",
            "I have refunded the delivery fee for the delay.",
        ),
        r"still not here|should have come|still waiting|\blate\b|not arrived|hasn't arrived|no parcel|was due|delivered"
        r"|where is my|never came|tracking",
        r"carrier|courier|track|express|new parcel|send (you )?(a|an|another|the) |refunded? the (delivery|shipping)"
        r"|follow the parcel",
    ),
    Topic(
        "damaged",
        "any",
        (
            "My {item} arrived broken.",
            "The {item} has a big crack in it.",
            "The {item} came on {day} with a scratch on the side.",
            "I opened the box and the {item} was damaged.",
            "The {color} {item} you sent me is damaged.",
        ),
        (
            "I will send you a new {item} for free today.",
            "Please send us a photo of the damage so that we can replace it.",
            "I have refunded the damaged {item} in full.",
            "You can keep the damaged {item}.",
        ),
        r"broken|crack|scratch|damaged|shattered|dent",
        r"replac|new one|send (you )?(a|an|another) |photo|picture|refund|keep the (damaged|broken)",
    ),
    Topic(
        "wrong item",
        "any",
        (
            "I ordered a {color} {item} but got something else.",
            "You sent me the wrong {item}.",
            "This is not the {item} that I ordered on {day}.",
            "There was a stranger's order in my box instead of my {item}.",
            "I wanted the {color} {item} and got the wrong color.",
        ),
        (
            "I will send the right {item} today.",
            "You will get a return label for the wrong one by email.",
            "The courier will swap it at your door on {day}.",
            "You can keep the wrong one as a gift.",
        ),
        r"wrong (?!address|name)|something else|not the .* (that )?i ordered|stranger's order|instead of my",
        r"(right|correct) |return label|swap|exchange|keep the wrong|send (you )?(a|an|another|the) ",
    ),
    Topic(
        "refund",
        "any",
        (
            "When do I get my money back for the {item}?",
            "I sent the {item} back on {day} and there is no refund yet.",
            "I am still waiting for my refund for the {item}.",
            "You promised me a refund for the {color} {item}.",
            "The refund for my {item} did not reach my bank.",
        ),
        (
            "I have sent the refund to your card today.",
            "The money will be on your account by {day}.",
            "I will email you the refund receipt.",
            "Your bank will show the refund within three days.",
        ),
        r"refund|money back",
        r"refund|money (will|is|should)|receipt|your (card|account|bank)|within \w+ days|by \w+day",
    ),
    Topic(
        "return",
        "any",
        (
            "How can I return the {item}?",
            "I do not like the {item} and want to send it back.",
            "Where do I send the {item} if I want to return it?",
            "Can I still return the {color} {item} that I got on {day}?",
            "I need a return label for my {item}.",
        ),
        (
            "You can print the return label in your account.",
            "Please drop the parcel at any post office.",
            "You have thirty days to send the {item} back for free.",
            "I have emailed you a return label.",
        ),
        r"\breturn|send it back",
        r"return label|label|drop|post office|thirty days|30 days|pick it up|send (it|the \w+) back",
    ),
    Topic(
        "cancel",
        "any",
        (
            "Please cancel my order for the {item}.",
            "I ordered the {item} by mistake. Can you cancel it?",
            "I do not need the {color} {item} anymore, cancel it please.",
            "I want to cancel the {item} that I ordered on {day}.",
            "Is it too late to cancel my {item}?",
        ),
        (
            "I have cancelled your order for the {item}.",
            "Your card will not be charged.",
            "You will get an email that confirms the cancellation.",
            "If the parcel still comes, you can refuse it at the door.",
        ),
        r"\bcancel|by mistake|changed my mind",
        r"cancel|not be charged|refuse it|stopped the order|refund",
    ),
    Topic(
        "address",
        "any",
        (
            "I moved to {city}. Can you change my address?",
            "My {item} must go to a new address in {city}.",
            "I gave you the wrong address for my {item}.",
            "Can you send the {item} to my office in {city} instead?",
            "How do I change the address of my order?",
        ),
        (
            "I have changed the address of your order.",
            "You can save the new address in your account.",
            "The driver will bring the parcel to the new address on {day}.",
            "Please reply with the street and the house number.",
        ),
        r"\baddress|i moved|my office",
        r"chang\w* the address|chang\w* (it|your address)|new address|street|house number|updated?\b",
    ),
    Topic(
        "login",
        "any",
        (
            "I cannot log in to my account.",
            "I forgot my password.",
            "The website says that my password is wrong.",
            "My account is locked since {day}.",
            "I do not get the email to reset my password.",
            "I cannot log in to see my order for the {item}.",
        ),
        (
            "I have sent you a new link to reset your password.",
            "Please open the link within one hour.",
            "I have unlocked your account.",
            "You can also look into your spam folder for our email.",
        ),
        r"log ?in|password|locked|sign in",
        r"reset|link|unlock|spam folder|new password|code",
    ),
    Topic(
        "charged twice",
        "any",
        (
            "I was charged twice for the {item}.",
            "My card shows two payments for one {item}.",
            "You took the money for the {item} two times on {day}.",
            "Why did I pay for the {color} {item} twice?",
            "There is a payment on my card that I do not know.",
        ),
        (
            "I have sent the second payment back to your card.",
            "The money will be on your card within three days.",
            "Please send us a photo of the bank statement.",
            "I will email you a receipt for the corrected payment.",
        ),
        r"twice|two payments|two times|payment on my card|charged|double",
        r"second payment|back to your|refund|bank statement|on your card|receipt|correct",
    ),
    Topic(
        "invoice",
        "any",
        (
            "I need an invoice for my {item}.",
            "Can you send me the receipt for the {item}?",
            "The invoice for the {item} has the wrong name on it.",
            "My company in {city} needs an invoice for the {item}.",
            "Where can I find the invoice from {day}?",
        ),
        (
            "I have emailed you the invoice.",
            "You can download the invoice under orders in your account.",
            "Please reply with the name for the invoice.",
            "I have corrected the name and sent a new invoice.",
        ),
        r"invoice|receipt",
        r"invoice|download|receipt|reply with the name|pdf",
    ),
    Topic(
        "booking",
        "device",
        (
            "I need to move my appointment to {day}.",
            "Can I book a repair for my {item} on {day}?",
            "I cannot come to my appointment on {day}.",
            "Is there a free appointment in {city} on {day}?",
            "I missed my repair appointment for the {item}.",
        ),
        (
            "I have moved your appointment to {day}.",
            "You can pick another time with the link in your email.",
            "I have booked a repair slot for you.",
            "I will call you to confirm the time.",
        ),
        r"appointment|\bbook",
        r"moved|another time|new time|booked|slot|confirm the time|appointment|resched",
    ),
    Topic(
        "discount",
        "any",
        (
            "My discount code does not work.",
            "I forgot to use my discount code for the {item}.",
            "The shop does not take my gift card.",
            "The {item} was cheaper on {day}.",
            "Why do I not get the discount on the {color} {item}?",
        ),
        (
            "I have taken the discount off your order.",
            "I will email you a new code today.",
            "Please enter the code on the payment page.",
            "I have paid the difference back to your card.",
        ),
        r"discount|\bcode\b|gift card|cheaper|voucher|coupon",
        r"discount|new code|the code|difference|gift card|voucher|coupon",
    ),
    Topic(
        "size",
        "clothes",
        (
            "The {item} is too small for me.",
            "The {item} is too big. Can I get another size?",
            "I need the {color} {item} one size larger.",
            "Can I swap the {item} for a smaller one?",
            "The {item} does not fit.",
        ),
        (
            "I have reserved another size for you.",
            "You can swap the {item} for free within thirty days.",
            "I will send the other size today.",
            "You will find a size chart under the photo of the {item}.",
        ),
        r"too (small|big|large|tight|long|short)|\bsize\b|does not fit|doesn't fit|smaller one|larger",
        r"size|swap|exchange|reserved",
    ),
    Topic(
        "stock",
        "any",
        (
            "Do you have the {item} in {color}?",
            "When will the {color} {item} be back?",
            "Is the {item} sold out?",
            "Do you sell the {item} in your shop in {city}?",
            "Can I get the {item} before {day}?",
        ),
        (
            "I have reserved a {item} for you.",
            "We will have the {item} back on {day}.",
            "I will write to you when the {item} is back.",
            "You can order the {item} on our page today.",
        ),
        r"do you have|be back|sold out|do you sell|in stock|available|can i get the .* before",
        r"reserved|back on|when (it|the \w+) is back|order the|in stock|available|let you know when",
    ),
    Topic(
        "membership",
        "any",
        (
            "I want to end my membership.",
            "Please stop sending me your newsletter.",
            "I get an email from you each {day}. Please stop it.",
            "How do I leave your bonus club?",
            "You still charge me for the membership I ended on {day}.",
        ),
        (
            "I have ended your membership today.",
            "I have taken your name off the newsletter list.",
            "You will not be charged again.",
            "You can leave the club under settings in your account.",
        ),
        r"membership|newsletter|bonus club|subscription|unsubscribe|email from you",
        r"ended|off the (newsletter )?list|not be charged|settings|unsubscrib|cancelled your",
    ),
    Topic(
        "warranty",
        "device",
        (
            "My {item} stopped working after two weeks.",
            "The {item} does not turn on.",
            "The {item} makes a strange noise since {day}.",
            "My {color} {item} is dead after one month.",
            "Is my {item} still under warranty?",
        ),
        (
            "We will repair your {item} for free under the warranty.",
            "Please hold the power button for ten seconds.",
            "I will send you a new {item} if that does not help.",
            "You can bring the {item} to our shop in {city}.",
        ),
        r"stopped working|turn on|strange noise|is dead|warranty|not working",
        r"repair|warranty|power button|send (you )?(a|an|another) |bring (it|the)|replac|reset",
    ),
)

# How customers begin and end; "" is the most common.
GREETINGS = ("", "", "", "Hi. ", "Hello. ", "Hi there. ", "Good morning. ", "Dear team. ")
REQUESTS = (
    "",
    "",
    "",
    " Can you help me?",
    " What can I do?",
    " I need it soon.",
    " It is a gift.",
    " Please answer quickly.",
    " This is the second time.",
    " I am not happy.",
)

KIND_OPENINGS = (
    "I am so sorry about that.",
    "I am sorry for the trouble with the {item}.",
    "Thank you for writing to us.",
    "Thank you for telling us about the {item}.",
    "I understand how annoying this is.",
    "Sorry for the wait, and thank you for your patience.",
)
PLAIN_OPENINGS = ("", "", "", "Hello.", "We got your message.", "This is about your order.", "Okay.")
CURT_OPENINGS = ("No.", "So what.", "Not our problem.", "We are busy.", "Again?", "Read the website.", "Calm down.")

KIND_CLOSINGS = (
    "Please write to me if you need anything else.",
    "I hope this helps.",
    "Have a lovely day.",
    "I am happy to help you with anything else.",
    "Thank you for your patience.",
)
CURT_CLOSINGS = ("Bye.", "Case closed.", "Do not write again.", "That is all.")

VAGUE = (
    "We will look into it.",
    "Someone will check this at some point.",
    "It will be fine in the end.",
    "We have passed it on to a department.",
    "These things take time.",
)
REFUSALS = (
    "There is nothing we can do.",
    "That is your own fault.",
    "You should have read the rules.",
    "Ask someone else.",
    "We do not care about the {item}.",
    "Just wait.",
)
CHATTER = (
    "Our winter catalogue is out now.",
    "The weather in {city} is nice on {day}.",
    "Our shop was founded by two brothers.",
    "Many people like the color {color}.",
    "We have a new parking lot behind the shop.",
    "My cousin also has a {item}.",
    "Our team went to the lake on {day}.",
    "The coffee in our office is very good.",
)
