"""Functions to be translated: of varied kind, each complete in itself, with annotations that tell what may be given.

Written for this project; Apache-2.0 like the rest.
"""


def run_lengths(text: str) -> str:
    """Each run of a character as its length and the character, as in 3a1b."""
    parts = []
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or text[place] != text[start]:
            parts.append(str(place - start) + text[start])
            start = place
    return "".join(parts)


def roman_numeral(number: int) -> str:
    """Of 1 to 3999; an empty text for any other."""
    if number < 1 or number > 3999:
        return ""
    steps = [
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
        (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ]  # fmt: skip
    written = ""
    for value, sign in steps:
        while number >= value:
            written += sign
            number -= value
    return written


def caesar(text: str, shift: int) -> str:
    """Letters of the Latin alphabet moved on by a shift, which may be negative; the rest as it is."""
    moved = []
    for character in text:
        if "a" <= character <= "z":
            base = ord("a")
        elif "A" <= character <= "Z":
            base = ord("A")
        else:
            moved.append(character)
            continue
        moved.append(chr(base + (ord(character) - base + shift) % 26))
    return "".join(moved)


def merge_ranges(ranges: list[tuple[int, int]]) -> list[list[int]]:
    """Ranges that touch or overlap as one, in order; a range may be given the wrong way round.

    >>> merge_ranges([(1, 3), (2, 6), (8, 10), (11, 12)])
    >>> merge_ranges([(5, 1), (7, 9)])
    >>> merge_ranges([(1, 10), (2, 3), (12, 13)])
    """
    ordered = sorted([min(pair), max(pair)] for pair in ranges)
    merged: list[list[int]] = []
    for low, high in ordered:
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1][1] = high
        else:
            merged.append([low, high])
    return merged


def word_counts(text: str) -> dict[str, int]:
    """How often each word of letters and digits comes, in small letters.

    >>> word_counts("The cat and the hat. THE end 42")
    """
    counts: dict[str, int] = {}
    word = ""
    for character in text.lower() + " ":
        if "a" <= character <= "z" or "0" <= character <= "9":
            word += character
            continue
        if word:
            counts[word] = counts.get(word, 0) + 1
            word = ""
    return counts


def longest_common_subsequence(one: str, other: str) -> str:
    """The longest text that both hold in order; of several, the one that the table leads to from the end."""
    rows, columns = len(one), len(other)
    lengths = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows):
        for j in range(columns):
            if one[i] == other[j]:
                lengths[i + 1][j + 1] = lengths[i][j] + 1
            else:
                lengths[i + 1][j + 1] = max(lengths[i][j + 1], lengths[i + 1][j])
    found = []
    i, j = rows, columns
    while i > 0 and j > 0:
        if one[i - 1] == other[j - 1]:
            found.append(one[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] >= lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return "".join(reversed(found))


def edit_distance(one: str, other: str) -> int:
    """Insertions, deletions and replacements that turn one into the other."""
    row = list(range(len(other) + 1))
    for i in range(1, len(one) + 1):
        before = row[0]
        row[0] = i
        for j in range(1, len(other) + 1):
            kept = row[j]
            if one[i - 1] == other[j - 1]:
                row[j] = before
            else:
                row[j] = 1 + min(before, row[j], row[j - 1])
            before = kept
    return row[-1]


def prime_factors(number: int) -> list[int]:
    """In rising order, as often as each divides; none of numbers below 2.

    >>> prime_factors(360)
    >>> prime_factors(97)
    >>> prime_factors(49)
    >>> prime_factors(2)
    >>> prime_factors(1001)
    """
    factors = []
    divisor = 2
    while number >= 2 and divisor * divisor <= number:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1 if divisor == 2 else 2
    if number >= 2:
        factors.append(number)
    return factors


def balanced(text: str) -> int:
    """The place of the first bracket that doesn't fit, the text's length if one stays open, or -1."""
    closing = {")": "(", "]": "[", "}": "{"}
    waiting: list[str] = []
    for place, character in enumerate(text):
        if character in "([{":
            waiting.append(character)
        elif character in closing:
            if not waiting or waiting[-1] != closing[character]:
                return place
            waiting.pop()
    return len(text) if waiting else -1


def transpose(table: list[list[int]]) -> list[list[int]]:
    """Columns as rows; what a short row lacks is 0.

    >>> transpose([[1, 2, 3], [4, 5, 6]])
    >>> transpose([[1], [2, 3], []])
    """
    width = 0
    for row in table:
        if len(row) > width:
            width = len(row)
    turned = []
    for column in range(width):
        line = []
        for row in table:
            line.append(row[column] if column < len(row) else 0)
        turned.append(line)
    return turned


def moving_average(numbers: list[float], width: int) -> list[float]:
    """Of each number and those before it, up to a width of at least 1."""
    width = max(1, width)
    averages = []
    total = 0.0
    for place, number in enumerate(numbers):
        total += number
        if place >= width:
            total -= numbers[place - width]
        averages.append(total / min(place + 1, width))
    return averages


def median_and_spread(numbers: list[float]) -> dict[str, float]:
    """Median, and the mean distance from it; empty for no numbers."""
    if not numbers:
        return {}
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        median = ordered[middle]
    else:
        median = (ordered[middle - 1] + ordered[middle]) / 2
    distance = 0.0
    for number in ordered:
        distance += abs(number - median)
    return {"median": median, "spread": distance / len(ordered)}


def binary_search(numbers: list[int], wanted: int) -> int:
    """Where a number is, or would be put in, among the numbers in order: the first such place."""
    ordered = sorted(numbers)
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def to_base(number: int, base: int) -> str:
    """A number in a base of 2 to 36; an empty text for any other base.

    >>> to_base(255, 16)
    >>> to_base(-10, 2)
    >>> to_base(35, 36)
    >>> to_base(7, 1)
    >>> to_base(6, 37)
    """
    if base < 2 or base > 36:
        return ""
    if number == 0:
        return "0"
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    rest = abs(number)
    written = ""
    while rest > 0:
        written = digits[rest % base] + written
        rest //= base
    return "-" + written if number < 0 else written


def from_base(text: str, base: int) -> int:
    """The number that is written, up to the first character that is no digit of the base."""
    value = 0
    for character in text.lower():
        if "0" <= character <= "9":
            digit = ord(character) - ord("0")
        elif "a" <= character <= "z":
            digit = ord(character) - ord("a") + 10
        else:
            break
        if digit >= base:
            break
        value = value * base + digit
        if value > 10**12:
            break
    return value


def group_by_length(words: list[str]) -> dict[str, list[str]]:
    """Words by their length, written as text, in the order in which they come; each word once."""
    groups: dict[str, list[str]] = {}
    for word in words:
        key = str(len(word))
        if key not in groups:
            groups[key] = []
        if word not in groups[key]:
            groups[key].append(word)
    return groups


def title_case(text: str, small: list[str]) -> str:
    """Words with a large first letter, but for small words that are not the first.

    >>> title_case("the lord of the rings", ["of", "the"])
    >>> title_case("a tale OF two cities", ["Of", "two"])
    """
    kept = [word.lower() for word in small]
    words = []
    for place, word in enumerate(text.split(" ")):
        lower = word.lower()
        if place > 0 and lower in kept:
            words.append(lower)
        else:
            words.append(lower[:1].upper() + lower[1:])
    return " ".join(words)


def wrap_lines(text: str, width: int) -> list[str]:
    """Words in lines of at most a width; a longer word has a line of its own.

    >>> wrap_lines("the quick brown fox jumps over the lazy dog", 10)
    >>> wrap_lines("a bb ccc dddd eeeee", 5)
    >>> wrap_lines("one two", 7)
    """
    width = max(1, width)
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line == "":
            line = word
        elif len(line) + 1 + len(word) <= width:
            line += " " + word
        else:
            lines.append(line)
            line = word
    if line != "":
        lines.append(line)
    return lines


def parse_query(query: str) -> dict[str, list[str]]:
    """The values of each name in a query such as a=1&b=2&a=3; what has no name is left out."""
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        place = part.find("=")
        name = part if place < 0 else part[:place]
        value = "" if place < 0 else part[place + 1 :]
        if name == "":
            continue
        if name not in found:
            found[name] = []
        found[name].append(value.replace("+", " "))
    return found


def is_leap_year(year: int) -> bool:
    """By the Gregorian rule, also for years before it."""
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0


def day_of_week(year: int, month: int, day: int) -> str:
    """By Zeller's rule; an empty text for a month or day that can't be."""
    if month < 1 or month > 12 or day < 1 or day > 31:
        return ""
    if month < 3:
        month += 12
        year -= 1
    century = year // 100
    within = year % 100
    number = (day + 13 * (month + 1) // 5 + within + within // 4 + century // 4 + 5 * century) % 7
    names = ["Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    return names[number]


def add_minutes(clock: str, minutes: int) -> str:
    """A time such as 23:50, so many minutes on; what is no time counts as 00:00.

    >>> add_minutes("23:50", 20)
    >>> add_minutes("09:05", -10)
    >>> add_minutes("24:00", 5)
    >>> add_minutes("7:61", 1)
    """
    parts = clock.split(":")
    hour = minute = 0
    if len(parts) == 2 and parts[0].isdigit() and parts[1].isdigit():
        hour, minute = int(parts[0]), int(parts[1])
        if hour > 23 or minute > 59:
            hour = minute = 0
    total = (hour * 60 + minute + minutes) % 1440
    return f"{total // 60:02d}:{total % 60:02d}"


def duration(seconds: int) -> str:
    """In days, hours, minutes and seconds, without those that are 0."""
    if seconds == 0:
        return "0s"
    sign = "-" if seconds < 0 else ""
    rest = abs(seconds)
    parts = []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count = rest // length
        rest %= length
        if count > 0:
            parts.append(f"{count}{unit}")
    return sign + " ".join(parts)


def luhn_valid(digits: str) -> bool:
    """Whether a number passes the check of payment cards; spaces and dashes don't count."""
    total = 0
    count = 0
    for character in reversed(digits):
        if character in " -":
            continue
        if character < "0" or character > "9":
            return False
        digit = ord(character) - ord("0")
        if count % 2 == 1:
            digit *= 2
            if digit > 9:
                digit -= 9
        total += digit
        count += 1
    return count > 1 and total % 10 == 0


def isbn_check_digit(digits: str) -> str:
    """The last sign of an ISBN of ten, from its first nine digits; an empty text if they are not nine.

    >>> isbn_check_digit("030640615")
    >>> isbn_check_digit("123456789")
    >>> isbn_check_digit("097522980")
    >>> isbn_check_digit("12345678x")
    """
    if len(digits) != 9:
        return ""
    total = 0
    for place, character in enumerate(digits):
        if character < "0" or character > "9":
            return ""
        total += (10 - place) * int(character)
    rest = (11 - total % 11) % 11
    return "X" if rest == 10 else str(rest)


def matrix_product(one: list[list[int]], other: list[list[int]]) -> list[list[int]]:
    """Of two matrices, or an empty list if they don't fit."""
    if not one or not other:
        return []
    inner, width = len(other), len(other[0])
    if any(len(row) != inner for row in one) or any(len(row) != width for row in other):
        return []
    product = []
    for row in one:
        line = []
        for column in range(width):
            total = 0
            for place in range(inner):
                total += row[place] * other[place][column]
            line.append(total)
        product.append(line)
    return product


def spiral(table: list[list[int]]) -> list[int]:
    """What a table holds, from its first corner inwards, clockwise; rows are cut to the shortest."""
    if not table:
        return []
    width = min(len(row) for row in table)
    top, bottom, left, right = 0, len(table) - 1, 0, width - 1
    found = []
    while top <= bottom and left <= right:
        for column in range(left, right + 1):
            found.append(table[top][column])
        top += 1
        for row in range(top, bottom + 1):
            found.append(table[row][right])
        right -= 1
        if top <= bottom:
            for column in range(right, left - 1, -1):
                found.append(table[bottom][column])
            bottom -= 1
        if left <= right:
            for row in range(bottom, top - 1, -1):
                found.append(table[row][left])
            left += 1
    return found


def largest_block_sum(numbers: list[int]) -> list[int]:
    """The largest sum of neighbours, and where they begin and end; nothing for no numbers."""
    if not numbers:
        return []
    best, best_start, best_end = numbers[0], 0, 0
    current, start = numbers[0], 0
    for place in range(1, len(numbers)):
        if current < 0:
            current = numbers[place]
            start = place
        else:
            current += numbers[place]
        if current > best:
            best, best_start, best_end = current, start, place
    return [best, best_start, best_end]


def pairs_with_sum(numbers: list[int], wanted: int) -> list[list[int]]:
    """Pairs of different numbers that add up, the smaller first, in order, each once."""
    seen: list[int] = []
    found: list[list[int]] = []
    for number in numbers:
        other = wanted - number
        if other in seen and other != number:
            pair = [min(number, other), max(number, other)]
            if pair not in found:
                found.append(pair)
        if number not in seen:
            seen.append(number)
    found.sort()
    return found


def rotate(items: list[int], steps: int) -> list[int]:
    """The items moved to the right, round the end.

    >>> rotate([1, 2, 3, 4, 5], 2)
    >>> rotate([1, 2, 3], -1)
    >>> rotate([1, 2], 7)
    """
    if not items:
        return []
    steps %= len(items)
    turned = []
    for place in range(len(items)):
        turned.append(items[(place - steps) % len(items)])
    return turned


def flatten_keys(tree: dict[str, dict[str, int]]) -> dict[str, int]:
    """A map of maps as one, its keys joined by a dot, in the order of the keys."""
    flat: dict[str, int] = {}
    for outer in sorted(tree):
        inner = tree[outer]
        if not inner:
            flat[outer] = 0
        for key in sorted(inner):
            flat[outer + "." + key] = inner[key]
    return flat


def invert(phone_book: dict[str, str]) -> dict[str, list[str]]:
    """Who has each number, in order of their names.

    >>> invert({"ann": "12", "bob": "12", "cy": " 7 ", "di": " "})
    """
    owners: dict[str, list[str]] = {}
    for name in sorted(phone_book):
        number = phone_book[name].strip()
        if number == "":
            continue
        owners.setdefault(number, []).append(name)
    return owners


def difference_of_maps(before: dict[str, int], after: dict[str, int]) -> dict[str, list[str]]:
    """Keys that were added, removed and changed, each in order."""
    added, removed, changed = [], [], []
    for key in sorted(after):
        if key not in before:
            added.append(key)
        elif before[key] != after[key]:
            changed.append(key)
    for key in sorted(before):
        if key not in after:
            removed.append(key)
    return {"added": added, "removed": removed, "changed": changed}


def top_words(counts: dict[str, int], most: int) -> list[str]:
    """The words that come most often, those of one count in order of the alphabet."""
    pairs = [(-count, word) for word, count in counts.items() if count > 0]
    pairs.sort()
    chosen: list[str] = []
    for count, word in pairs:
        if len(chosen) >= most:
            break
        chosen.append(f"{word} ({-count})")
    return chosen


def evaluate_postfix(tokens: list[str]) -> float | None:
    """The value of an expression such as 3 4 + 2 *; nothing if it is none.

    >>> evaluate_postfix(["3", "4", "+", "2", "*"])
    >>> evaluate_postfix(["8", "2", "/", "3", "-"])
    >>> evaluate_postfix(["1", "0", "/"])
    >>> evaluate_postfix(["5"])
    """
    waiting: list[float] = []
    for token in tokens:
        if token in ("+", "-", "*", "/"):
            if len(waiting) < 2:
                return None
            right = waiting.pop()
            left = waiting.pop()
            if token == "+":
                waiting.append(left + right)
            elif token == "-":
                waiting.append(left - right)
            elif token == "*":
                waiting.append(left * right)
            elif right == 0:
                return None
            else:
                waiting.append(left / right)
        elif token.isdigit():
            waiting.append(float(token))
        else:
            return None
    return waiting[0] if len(waiting) == 1 else None


def simplify_path(path: str) -> str:
    """A path from the root without doubled slashes and dots."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "" or part == ".":
            continue
        if part == "..":
            if kept:
                kept.pop()
        else:
            kept.append(part)
    return "/" + "/".join(kept)


def compare_versions(one: str, other: str) -> int:
    """-1, 0 or 1 as a version such as 1.10.2 is older, the same or newer; what is no number counts as 0.

    >>> compare_versions("1.10.2", "1.9")
    >>> compare_versions("2.0", "2")
    >>> compare_versions("1.x.3", "1.0.3")
    """
    left, right = one.split("."), other.split(".")
    for place in range(max(len(left), len(right))):
        first = left[place] if place < len(left) else "0"
        second = right[place] if place < len(right) else "0"
        first_number = int(first) if first.isdigit() else 0
        second_number = int(second) if second.isdigit() else 0
        if first_number != second_number:
            return -1 if first_number < second_number else 1
    return 0


def mask_secret(text: str, shown: int) -> str:
    """All but the last letters and digits as stars; other signs stay."""
    hidden = 0
    for character in text:
        if character.isalnum():
            hidden += 1
    hidden = max(0, hidden - max(0, shown))
    masked = ""
    for character in text:
        if character.isalnum() and hidden > 0:
            masked += "*"
            hidden -= 1
        else:
            masked += character
    return masked


def snake_case(name: str) -> str:
    """A name such as XMLParserName in small letters, its words joined by underscores.

    >>> snake_case("XMLParserName")
    >>> snake_case("camelCaseWord")
    >>> snake_case("Already_Snake case")
    >>> snake_case("HTTPServer2Go")
    """
    written = ""
    for place, character in enumerate(name):
        if "A" <= character <= "Z":
            after_small = place > 0 and not ("A" <= name[place - 1] <= "Z") and name[place - 1] != "_"
            before_small = place > 0 and place + 1 < len(name) and "a" <= name[place + 1] <= "z"
            if (after_small or before_small) and not written.endswith("_"):
                written += "_"
            written += character.lower()
        elif character in " -":
            written += "_"
        else:
            written += character
    return written


def common_prefix(words: list[str]) -> str:
    """What all words begin with.

    >>> common_prefix(["flower", "flow", "flight"])
    >>> common_prefix(["same", "same"])
    >>> common_prefix(["dog", "car"])
    """
    if not words:
        return ""
    prefix = words[0]
    for word in words[1:]:
        length = 0
        while length < len(prefix) and length < len(word) and prefix[length] == word[length]:
            length += 1
        prefix = prefix[:length]
        if prefix == "":
            break
    return prefix


def anagram_groups(words: list[str]) -> list[list[str]]:
    """Words of the same letters together, groups and words in order; words that stand alone are left out.

    >>> anagram_groups(["tea", "Eat", "ate", "tan", "nat", "bat", "tea"])
    >>> anagram_groups(["ab", "ba", "cd"])
    """
    groups: dict[str, list[str]] = {}
    for word in words:
        key = "".join(sorted(word.lower()))
        groups.setdefault(key, [])
        if word not in groups[key]:
            groups[key].append(word)
    found = []
    for group in groups.values():
        if len(group) > 1:
            found.append(sorted(group))
    found.sort()
    return found


def longest_palindrome(text: str) -> str:
    """The longest part that reads the same both ways; the first of several."""
    best = ""
    for center in range(len(text)):
        for width in (0, 1):
            low, high = center, center + width
            while low >= 0 and high < len(text) and text[low] == text[high]:
                low -= 1
                high += 1
            found = text[low + 1 : high]
            if len(found) > len(best):
                best = found
    return best


def collatz(start: int, most: int) -> list[int]:
    """Halved if even, else tripled and one more, down to 1 or for so many steps at most."""
    if start < 1:
        return []
    numbers = [start]
    while numbers[-1] != 1 and len(numbers) <= min(most, 200):
        last = numbers[-1]
        if last % 2 == 0:
            numbers.append(last // 2)
        else:
            numbers.append(3 * last + 1)
    return numbers


def pascal_row(row: int) -> list[int]:
    """A row of Pascal's triangle, the first being 0; empty below 0 and above 40."""
    if row < 0 or row > 40:
        return []
    numbers = [1]
    for place in range(row):
        numbers.append(numbers[place] * (row - place) // (place + 1))
    return numbers


def greatest_common_divisor(numbers: list[int]) -> int:
    """Of all numbers; 0 if there are none but zeros."""
    result = 0
    for number in numbers:
        one, other = result, abs(number)
        while other != 0:
            one, other = other, one % other
        result = one
    return result


def change_coins(amount: int, coins: list[int]) -> list[int]:
    """The fewest coins that make an amount up to 500, large ones first; empty if it can't be made.

    >>> change_coins(63, [1, 5, 10, 25])
    >>> change_coins(6, [1, 3, 4])
    >>> change_coins(7, [5, 10])
    >>> change_coins(500, [200, 100, 3])
    """
    usable = sorted({coin for coin in coins if coin > 0}, reverse=True)
    if amount <= 0 or amount > 500:
        return []
    fewest = [0] + [-1] * amount
    last = [0] * (amount + 1)
    for value in range(1, amount + 1):
        for coin in usable:
            if coin <= value and fewest[value - coin] >= 0:
                count = fewest[value - coin] + 1
                if fewest[value] < 0 or count < fewest[value]:
                    fewest[value] = count
                    last[value] = coin
    if fewest[amount] < 0:
        return []
    chosen = []
    while amount > 0:
        chosen.append(last[amount])
        amount -= last[amount]
    return sorted(chosen, reverse=True)


def knapsack(weights: list[int], values: list[int], capacity: int) -> int:
    """The highest value that fits a capacity up to 200, each thing once; weights below 1 are left out.

    >>> knapsack([2, 3, 4, 5], [3, 4, 5, 6], 5)
    >>> knapsack([1, 2, 3], [6, 10, 12], 5)
    >>> knapsack([0, 4], [9, 1], 4)
    """
    capacity = max(0, min(capacity, 200))
    best = [0] * (capacity + 1)
    for place in range(min(len(weights), len(values))):
        weight, value = weights[place], values[place]
        if weight < 1:
            continue
        for room in range(capacity, weight - 1, -1):
            candidate = best[room - weight] + value
            if candidate > best[room]:
                best[room] = candidate
    return best[capacity]


def count_islands(rows: list[str]) -> int:
    """Groups of # that touch along a side."""
    seen: list[list[bool]] = [[False] * len(row) for row in rows]
    count = 0
    for i in range(len(rows)):
        for j in range(len(rows[i])):
            if rows[i][j] != "#" or seen[i][j]:
                continue
            count += 1
            waiting = [(i, j)]
            seen[i][j] = True
            while waiting:
                row, column = waiting.pop()
                for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                    y, x = row + down, column + right
                    if 0 <= y < len(rows) and 0 <= x < len(rows[y]) and rows[y][x] == "#" and not seen[y][x]:
                        seen[y][x] = True
                        waiting.append((y, x))
    return count


def shortest_path(edges: list[tuple[int, int]], start: int, goal: int) -> int:
    """The fewest edges, which lead both ways, from start to goal; -1 if there is no way."""
    neighbours: dict[int, list[int]] = {}
    for one, other in edges:
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    distance = {start: 0}
    waiting = [start]
    while waiting:
        here = waiting.pop(0)
        if here == goal:
            return distance[here]
        for there in neighbours.get(here, []):
            if there not in distance:
                distance[there] = distance[here] + 1
                waiting.append(there)
    return -1


def task_order(needs: dict[str, list[str]]) -> list[str]:
    """An order in which each task comes after those it needs, by name where it may be; empty if there is none."""
    left: dict[str, list[str]] = {}
    for task, before in needs.items():
        left[task] = [other for other in before if other in needs]
    order: list[str] = []
    while left:
        ready = sorted(task for task, before in left.items() if all(other in order for other in before))
        if not ready:
            return []
        order.append(ready[0])
        del left[ready[0]]
    return order


def game_of_life(rows: list[str]) -> list[str]:
    """The next generation of cells, # alive, beyond the edge dead; rows are cut to the shortest."""
    if not rows:
        return []
    width = min(len(row) for row in rows)
    grown = []
    for i in range(len(rows)):
        line = ""
        for j in range(width):
            alive = 0
            for y in range(max(0, i - 1), min(len(rows), i + 2)):
                for x in range(max(0, j - 1), min(width, j + 2)):
                    if (y, x) != (i, j) and rows[y][x] == "#":
                        alive += 1
            if alive == 3 or (alive == 2 and rows[i][j] == "#"):
                line += "#"
            else:
                line += "."
        grown.append(line)
    return grown


def winner(board: str) -> str:
    """Who has three in a row on a board of nine signs: X, O, or nobody.

    >>> winner("XXXOO....")
    >>> winner("OX.OX.O..")
    >>> winner("X.O.XO..X")
    >>> winner("..O.O.OXX")
    >>> winner("XOXXOOOXX")
    """
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    if len(board) != 9:
        return "no board"
    for first, second, third in lines:
        sign = board[first]
        if sign in ("X", "O") and sign == board[second] and sign == board[third]:
            return sign
    return "nobody"


def bowling_score(rolls: list[int]) -> int:
    """Of one game, as far as it has been played; pins beyond 0 to 10 are cut."""
    pins = [min(10, max(0, roll)) for roll in rolls]
    score = 0
    place = 0
    for _ in range(10):
        if place >= len(pins):
            break
        if pins[place] == 10:
            score += sum(pins[place : place + 3])
            place += 1
        else:
            frame = sum(pins[place : place + 2])
            score += frame
            if frame >= 10 and place + 2 < len(pins):
                score += pins[place + 2]
            place += 2
    return score


def poker_hand(ranks: list[int]) -> str:
    """What five ranks make, suits aside: their largest groups, or a straight.

    >>> poker_hand([2, 2, 2, 2, 9])
    >>> poker_hand([3, 3, 3, 5, 5])
    >>> poker_hand([3, 3, 3, 5, 6])
    >>> poker_hand([4, 4, 6, 6, 9])
    >>> poker_hand([4, 4, 6, 7, 9])
    >>> poker_hand([5, 6, 7, 8, 9])
    >>> poker_hand([2, 5, 7, 9, 12])
    """
    if len(ranks) != 5:
        return "no hand"
    counts: dict[int, int] = {}
    for rank in ranks:
        counts[rank] = counts.get(rank, 0) + 1
    groups = sorted(counts.values(), reverse=True)
    if groups[0] >= 4:
        return "four"
    if groups[0] == 3:
        return "full house" if groups[1] == 2 else "three"
    if groups[0] == 2:
        return "two pairs" if groups[1] == 2 else "pair"
    ordered = sorted(ranks)
    if ordered[4] - ordered[0] == 4:
        return "straight"
    return f"high {ordered[4]}"


def checksum(text: str) -> int:
    """Adler's checksum of the bytes of a text.

    >>> checksum("Wikipedia")
    >>> checksum("")
    >>> checksum("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    """
    low, high = 1, 0
    for byte in text.encode():
        low = (low + byte) % 65521
        high = (high + low) % 65521
    return high * 65536 + low


def bits_set(number: int) -> dict[str, int]:
    """Of the last 32 bits: how many are set, and the places of the lowest and the highest, -1 if there is none."""
    rest = number & 0xFFFFFFFF
    count, lowest, highest = 0, -1, -1
    for place in range(32):
        if rest >> place & 1:
            count += 1
            highest = place
            if lowest < 0:
                lowest = place
    return {"count": count, "lowest": lowest, "highest": highest}


def gray_codes(bits: int) -> list[str]:
    """All codes of up to 8 bits, each differing from the last in one."""
    bits = max(0, min(bits, 8))
    codes = []
    for number in range(2**bits):
        code = number ^ (number >> 1)
        written = ""
        for place in range(bits - 1, -1, -1):
            written += "1" if code >> place & 1 else "0"
        codes.append(written)
    return codes


def csv_fields(line: str) -> list[str]:
    """The fields of a line of CSV: commas within quotes don't part, and a doubled quote is one."""
    fields = []
    field = ""
    quoted = False
    place = 0
    while place < len(line):
        character = line[place]
        if quoted:
            if character == '"' and place + 1 < len(line) and line[place + 1] == '"':
                field += '"'
                place += 1
            elif character == '"':
                quoted = False
            else:
                field += character
        elif character == '"':
            quoted = True
        elif character == ",":
            fields.append(field)
            field = ""
        else:
            field += character
        place += 1
    fields.append(field)
    return fields


def fill_template(template: str, values: dict[str, str]) -> str:
    """A text with {name} filled in; a name that has no value stays as it is."""
    filled = ""
    place = 0
    while place < len(template):
        if template[place] == "{":
            end = template.find("}", place)
            if end > place:
                name = template[place + 1 : end]
                filled += values[name] if name in values else template[place : end + 1]
                place = end + 1
                continue
        filled += template[place]
        place += 1
    return filled


def price_with_discount(prices: list[float], code: str) -> dict[str, float]:
    """The sum, what is taken off it by a code, and what is left, each to two digits.

    >>> price_with_discount([60.0, 70.5, -3.0], "QUARTER")
    >>> price_with_discount([10.0, 5.25], "TEN")
    >>> price_with_discount([40.0], "OFFER OFFER")
    >>> price_with_discount([20.0, 30.0], "QUARTER")
    >>> price_with_discount([19.99], "")
    """
    total = 0.0
    for price in prices:
        if price > 0:
            total += price
    share = 0.0
    if code == "TEN":
        share = 0.1
    elif code == "QUARTER" and total >= 100:
        share = 0.25
    elif code.startswith("OFF"):
        share = min(0.5, len(code) / 100)
    discount = total * share
    return {"total": round(total, 2), "discount": round(discount, 2), "due": round(total - discount, 2)}


def compound_interest(amount: float, percent: float, years: int) -> list[float]:
    """What an amount has grown to after each year, up to 50.

    >>> compound_interest(100.0, 5.0, 3)
    >>> compound_interest(1000.0, 1.5, 12)
    >>> compound_interest(50.0, 900.0, 20)
    >>> compound_interest(10.0, 2.0, 60)
    """
    grown = []
    value = amount
    for _ in range(max(0, min(years, 50))):
        value += value * percent / 100
        grown.append(value)
        if abs(value) > 1e9:
            break
    return grown


def quadratic_roots(a: float, b: float, c: float) -> list[float]:
    """Real solutions of a x² + b x + c = 0 in rising order; none if there are none, or all numbers are.

    >>> quadratic_roots(1.0, -3.0, 2.0)
    >>> quadratic_roots(1.0, 2.0, 1.0)
    >>> quadratic_roots(0.0, 2.0, -4.0)
    >>> quadratic_roots(1.0, 0.0, 4.0)
    >>> quadratic_roots(0.0, 0.0, 1.0)
    """
    if a == 0:
        if b == 0:
            return []
        return [-c / b]
    inside = b * b - 4 * a * c
    if inside < 0:
        return []
    if inside == 0:
        return [-b / (2 * a)]
    root = inside**0.5
    return sorted([(-b - root) / (2 * a), (-b + root) / (2 * a)])


def polygon_area(points: list[tuple[float, float]]) -> float:
    """By the shoelace rule; 0 for fewer than three points.

    >>> polygon_area([(0.0, 0.0), (4.0, 0.0), (4.0, 3.0)])
    >>> polygon_area([(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)])
    """
    if len(points) < 3:
        return 0.0
    doubled = 0.0
    for place in range(len(points)):
        x, y = points[place]
        next_x, next_y = points[(place + 1) % len(points)]
        doubled += x * next_y - next_x * y
    return abs(doubled) / 2


def histogram(numbers: list[float], bins: int) -> list[int]:
    """How many numbers fall into each of up to 20 equal parts between the least and the greatest."""
    bins = max(1, min(bins, 20))
    counts = [0] * bins
    if not numbers:
        return counts
    least, greatest = min(numbers), max(numbers)
    width = (greatest - least) / bins
    for number in numbers:
        place = 0 if width == 0 else int((number - least) / width)
        counts[min(place, bins - 1)] += 1
    return counts


def rank_scores(scores: dict[str, int]) -> list[list[str]]:
    """Names with their place in the order of scores; those of one score share a place, and the next are skipped.

    >>> rank_scores({"ann": 9, "bob": 7, "cy": 9, "di": 1})
    """
    ordered = sorted(scores, key=lambda name: (-scores[name], name))
    ranked: list[list[str]] = []
    place = 0
    for number, name in enumerate(ordered):
        if number == 0 or scores[name] != scores[ordered[number - 1]]:
            place = number + 1
        ranked.append([str(place), name])
    return ranked


def state_machine(events: list[str]) -> list[str]:
    """The states that a door goes through: closed, open or locked; an event that doesn't fit changes nothing.

    >>> state_machine(["open", "close", "lock", "unlock"])
    >>> state_machine(["lock", " Unlock ", "open", "lock", "close"])
    >>> state_machine(["unlock", "knock", "open"])
    """
    moves = {
        ("closed", "open"): "open",
        ("open", "close"): "closed",
        ("closed", "lock"): "locked",
        ("locked", "unlock"): "closed",
    }
    state = "closed"
    states = [state]
    for event in events:
        following = moves.get((state, event.strip().lower()))
        if following is not None:
            state = following
        states.append(state)
    return states


def bracket_depths(text: str) -> dict[str, int]:
    """The deepest nesting of round brackets, how many stay open, and how many close nothing."""
    depth = deepest = stray = 0
    for character in text:
        if character == "(":
            depth += 1
            if depth > deepest:
                deepest = depth
        elif character == ")":
            if depth == 0:
                stray += 1
            else:
                depth -= 1
    return {"deepest": deepest, "open": depth, "stray": stray}
