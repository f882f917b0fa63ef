<?php
declare(strict_types=1);

// Runs inside the sandbox: defines what a PHP program defines, and calls one of its functions on each input.
// What the program prints goes to standard error, so that the last line of standard output is this file's own.

final class EthosHarness
{
    const PROGRAM = '/tmp/program.php';
    const DEFINING = [T_FUNCTION, T_CLASS, T_USE, T_AS];
    const ELSEWHERE = [T_OBJECT_OPERATOR, T_NULLSAFE_OBJECT_OPERATOR, T_DOUBLE_COLON, T_ATTRIBUTE]; // not called here

    public static array $asked;

    public static function tagged(mixed $value, int $depth = 0): array
    {
        if ($depth > 100) {
            throw new TypeError('a value is nested more than 100 deep');
        }
        if (is_array($value)) {
            if (array_is_list($value)) {
                return ['list', array_map(fn ($item) => self::tagged($item, $depth + 1), $value)];
            }
            $pairs = [];
            foreach ($value as $key => $item) {
                $pairs[] = [self::tagged($key), self::tagged($item, $depth + 1)];
            }
            return ['map', $pairs];
        }
        return match (true) {
            $value === null => ['null', null],
            is_bool($value) => ['bool', $value],
            is_int($value) => ['int', (string) $value],
            is_float($value) => ['float', self::written($value)],
            is_string($value) => preg_match('//u', $value) ? ['str', $value] : ['bytes', base64_encode($value)],
            default => throw new TypeError(
                'a value of type ' . get_debug_type($value) . ' has no counterpart in other languages'
            ),
        };
    }

    private static function written(float $value): string
    {
        if (is_finite($value)) {
            return var_export($value, true);
        }
        return is_nan($value) ? 'nan' : ($value > 0 ? 'inf' : '-inf');
    }

    public static function value(array $tagged): mixed
    {
        [$tag, $content] = $tagged;
        switch ($tag) {
            case 'int':
                $number = (int) $content;
                if ((string) $number !== $content) {
                    throw new RangeException("PHP has no integer $content");
                }
                return $number;
            case 'float':
                return ['nan' => NAN, 'inf' => INF, '-inf' => -INF][$content] ?? (float) $content;
            case 'bytes':
                return base64_decode($content);
            case 'list':
            case 'tuple':
                return array_map(self::value(...), $content);
            case 'map':
                $map = [];
                foreach ($content as [$key, $item]) {
                    $map[self::value($key)] = self::value($item);
                }
                return $map;
            default:
                return $content;
        }
    }

    public static function said(Throwable $error): string
    {
        return substr(get_class($error) . ': ' . $error->getMessage(), 0, 500);
    }

    // the program's own function, in whatever namespace it has put itself
    private static function named(string $wanted): ?string
    {
        foreach (get_defined_functions()['user'] as $name) {
            if (strcasecmp(substr($name, (int) strrpos('\\' . $name, '\\')), $wanted) === 0) {
                return $name;
            }
        }
        return null;
    }

    // functions that the program calls and classes that it makes objects of, and that nothing defines: also where its
    // calls don't come by
    private static function undefined(): array
    {
        $tokens = class_exists('PhpToken') ? PhpToken::tokenize(self::$asked['source']) : [];
        $tokens = array_values(array_filter($tokens, fn ($token) => !$token->isIgnorable()));
        $its = fn (int $place, mixed $kind) => isset($tokens[$place]) && $tokens[$place]->is($kind);
        [$named, $defined] = [[], []];
        foreach ($tokens as $place => $token) {
            if (!$token->is([T_STRING, T_NAME_QUALIFIED, T_NAME_FULLY_QUALIFIED])) {
                continue;
            }
            $name = substr($token->text, (int) strrpos('\\' . $token->text, '\\'));
            $before = $its($place - 1, '&') ? $place - 2 : $place - 1;
            if ($its($before, self::DEFINING)) {
                $defined[strtolower($name)] = true; // even if only once the function around it has run
            } elseif ($name === 'function_exists' && $its($place + 2, T_CONSTANT_ENCAPSED_STRING)) {
                $defined[strtolower(trim($tokens[$place + 2]->text, '"\''))] = true; // as far as it asks before
            } elseif ($its($place + 1, '(') && !$its($before, self::ELSEWHERE) && !$token->is(['self', 'parent'])) {
                $named[] = [$name, $its($before, T_NEW)];
            }
        }
        $isKnown = fn (string $name, bool $isClass) => isset($defined[strtolower($name)])
            || ($isClass ? class_exists($name) : function_exists($name));
        return array_values(array_unique(array_column(array_filter($named, fn ($one) => !$isKnown(...$one)), 0)));
    }

    public static function answers(): array
    {
        if (self::$asked['function'] === null) {
            return ['results' => []];
        }
        $function = self::named(self::$asked['function']);
        if ($function === null) {
            return ['unparsed' => 'it defines no function ' . self::$asked['function']];
        }
        if ($undefined = self::undefined()) {
            return ['undefined' => $undefined];
        }
        return ['results' => array_map(fn ($given) => self::result($function, $given), self::$asked['inputs'])];
    }

    private static function result(string $function, array $arguments): array
    {
        try {
            return ['value' => self::tagged($function(...array_map(self::value(...), $arguments)))];
        } catch (Throwable $error) {
            return ['error' => self::said($error)];
        }
    }

    public static function tell(array $answers): void
    {
        $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE;
        fwrite(STDOUT, "\n" . json_encode($answers, $flags) . "\n");
    }
}

// an undefined variable or key: where Python would stop, PHP warns and goes on with null
set_error_handler(function (int $severity, string $message, string $file, int $line): bool {
    if (!(error_reporting() & $severity) || $severity & (E_DEPRECATED | E_USER_DEPRECATED)) {
        return false;
    }
    throw new ErrorException($message, 0, $severity, $file, $line);
});
ob_start(function (string $printed): string {
    fwrite(STDERR, $printed);
    return '';
}, 4096);
EthosHarness::$asked = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
file_put_contents(EthosHarness::PROGRAM, EthosHarness::$asked['source']);
try {
    include EthosHarness::PROGRAM; // here, so that its variables are global, as in a file that is run
    EthosHarness::tell(EthosHarness::answers());
} catch (ParseError $error) {
    EthosHarness::tell(['unparsed' => EthosHarness::said($error) . ' in line ' . $error->getLine()]);
}
