// @ts-check
/**
 * What the generated pictures are drawn from: flat silhouettes on a field of 200 × 200, found by the
 * words of a product's title. Tones: `a` main, `b` its shade, `c` accent, `d` ink, `e` paper.
 */

/**
 * @typedef {"a" | "b" | "c" | "d" | "e"} Tone
 * @typedef {[Tone, string] | [Tone, string, number]} Part a filled path, or with a width a stroke
 */

/** @type {(x: number, y: number, r: number, ry?: number) => string} */
const oval = (x, y, r, ry = r) =>
  `M${x - r} ${y}a${r} ${ry} 0 1 0 ${2 * r} 0a${r} ${ry} 0 1 0 ${-2 * r} 0z`;

/** @type {(x: number, y: number, w: number, h: number, r?: number) => string} */
const box = (x, y, w, h, r = 0) =>
  `M${x + r} ${y}h${w - 2 * r}a${r} ${r} 0 0 1 ${r} ${r}v${h - 2 * r}a${r} ${r} 0 0 1 ${-r} ${r}` +
  `h${2 * r - w}a${r} ${r} 0 0 1 ${-r} ${-r}v${2 * r - h}a${r} ${r} 0 0 1 ${r} ${-r}z`;

/** @type {Record<string, Part[]>} */
const SHAPES = {
  skillet: [
    ["d", box(120, 96, 66, 13, 6)],
    ["a", oval(88, 102, 50)],
    ["b", oval(88, 102, 40)],
    ["e", "M66 88a28 28 0 0 1 24-14", 5],
  ],
  pot: [
    ["d", "M42 100h-8v14h10M158 100h8v14h-10", 8],
    ["a", "M44 88h112v46a18 18 0 0 1-18 18H62a18 18 0 0 1-18-18z"],
    ["b", "M44 88h112v14H44z"],
    ["b", "M46 82a54 26 0 0 1 108 0z"],
    ["d", oval(100, 54, 9)],
  ],
  knife: [
    ["c", "M34 74h98v30H70C52 104 38 92 34 74z"],
    ["b", "M34 74h98v8H36z"],
    ["d", box(132, 74, 50, 20, 8)],
    ["e", `${oval(148, 84, 3)}${oval(166, 84, 3)}`],
  ],
  mill: [
    ["b", oval(100, 48, 14)],
    ["a", "M80 62h40l-9 34 15 58H74l15-58z"],
    ["d", box(74, 62, 52, 9, 4)],
    ["b", "M80 132h40l6 22H74z"],
  ],
  bowls: [
    ["c", "M62 74h76a38 34 0 0 1-76 0z"],
    ["b", "M52 90h96a48 42 0 0 1-96 0z"],
    ["a", "M40 106h120a60 50 0 0 1-120 0z"],
  ],
  servers: [
    ["a", "M80 96v60", 9],
    ["b", "M122 96v60", 9],
    ["a", oval(80, 70, 18, 28)],
    ["b", "M104 44h8v34h6V44h8v34h6V44h8v34a18 22 0 0 1-36 0z"],
  ],
  board: [
    ["a", "M88 60V46a12 12 0 0 1 24 0v14h22a12 12 0 0 1 12 12v74a12 12 0 0 1-12 12H66a12 12 0 0 1-12-12V72a12 12 0 0 1 12-12z"],
    ["b", "M74 78v62M94 78v62M126 78v62", 4],
    ["e", oval(100, 48, 5)],
  ],
  dish: [
    ["d", box(26, 96, 148, 12, 6)],
    ["a", "M38 96h124l-8 40a14 14 0 0 1-14 12H60a14 14 0 0 1-14-12z"],
    ["c", "M48 96c10-22 26-22 34-10 8-14 26-14 34-2 10-10 30-8 36 12z"],
  ],
  dripper: [
    ["a", "M56 58h88l-28 44H84z"],
    ["b", box(70, 102, 60, 9, 4)],
    ["e", "M70 118h60l-6 36a8 8 0 0 1-8 6H84a8 8 0 0 1-8-6z"],
    ["c", "M73 134h54l-4 20a8 8 0 0 1-7 6H84a8 8 0 0 1-7-6z"],
  ],
  kettle: [
    ["b", "M62 132C34 128 52 84 28 78", 9],
    ["d", "M126 72c44-6 48 52 18 62", 9],
    ["a", "M66 78h68l14 66a10 10 0 0 1-10 12H62a10 10 0 0 1-10-12z"],
    ["b", "M70 70h60v8H70z"],
    ["d", oval(100, 62, 9)],
  ],
  grinder: [
    ["d", "M100 58V44h48", 8],
    ["c", oval(150, 46, 9)],
    ["b", "M76 58h48v14H76z"],
    ["a", box(72, 72, 56, 84, 10)],
    ["b", box(72, 112, 56, 10)],
  ],
  cup: [
    ["b", "M134 92c32-4 30 42-6 40", 9],
    ["a", "M56 80h84v38a34 34 0 0 1-34 34H90a34 34 0 0 1-34-34z"],
    ["d", "M62 80h72v8H62z"],
    ["e", "M82 66c-8-10 8-14 0-24M104 66c-8-10 8-14 0-24", 5],
    ["b", box(44, 152, 108, 8, 4)],
  ],
  teapot: [
    ["b", "M60 116C40 112 42 88 24 84", 11],
    ["d", "M142 90c34-8 34 44 0 40", 9],
    ["a", oval(100, 112, 48, 42)],
    ["b", "M68 82a34 18 0 0 1 64 0z"],
    ["d", oval(100, 62, 8)],
  ],
  press: [
    ["d", "M100 42v44M86 42h28", 6],
    ["d", "M134 82c30 0 30 54 0 54", 8],
    ["e", box(66, 66, 68, 90, 8)],
    ["b", "M66 104h68v44a8 8 0 0 1-8 8H74a8 8 0 0 1-8-8z"],
    ["a", "M62 60h76v12H62zM62 146h76v12H62zM64 98h72v7H64z"],
  ],
  frother: [
    ["a", box(88, 36, 24, 70, 12)],
    ["d", oval(100, 52, 4)],
    ["d", "M100 106v36", 5],
    ["b", oval(100, 148, 16, 8), 5],
  ],
  scale: [
    ["b", box(40, 116, 120, 34, 10)],
    ["a", box(34, 100, 132, 18, 8)],
    ["e", box(76, 124, 48, 18, 4)],
    ["d", "M84 133h6M96 133h6M108 133h8", 5],
  ],
  tent: [
    ["b", "M100 50l76 104H24z"],
    ["a", "M100 50l40 104H24z"],
    ["d", "M92 76l22 78H66z"],
    ["c", "M92 76l6 78H66z"],
  ],
  roll: [
    ["b", box(62, 74, 112, 70, 10)],
    ["a", oval(66, 109, 36)],
    ["e", "M66 109m-22 0a22 22 0 1 1 22 22a14 14 0 1 1 8-26", 6],
    ["c", "M118 74v70M148 74v70", 7],
  ],
  backpack: [
    ["d", "M80 56c0-26 40-26 40 0", 8],
    ["a", "M58 86a42 40 0 0 1 84 0v58a14 14 0 0 1-14 14H72a14 14 0 0 1-14-14z"],
    ["b", box(68, 108, 64, 44, 10)],
    ["c", box(92, 120, 16, 8, 4)],
    ["b", "M58 96h-8v44h8M142 96h8v44h-8", 8],
  ],
  torch: [
    ["b", "M36 92c20-46 108-46 128 0v16c-20-22-108-22-128 0z"],
    ["a", box(72, 84, 56, 50, 14)],
    ["e", oval(100, 109, 17)],
    ["c", oval(100, 109, 9)],
    ["c", "M100 144v16M72 140l-9 13M128 140l9 13", 6],
  ],
  jacket: [
    ["b", "M62 62l-32 22 12 66h18V90zM138 62l32 22-12 66h-18V90z"],
    ["a", "M78 50h44l18 14v94H60V64z"],
    ["b", "M78 50h44l-6 22H84z"],
    ["e", "M100 72v86", 4],
    ["c", "M112 120h18", 5],
  ],
  poles: [
    ["a", "M70 60l28 96M134 60l-28 96", 6],
    ["d", "M64 42l8 26M140 42l-8 26", 13],
    ["c", "M88 146h18M98 152h16", 5],
  ],
  stove: [
    ["c", "M100 40c24 24 30 36 12 54H88c-18-14-6-26 12-54z"],
    ["e", "M100 66c10 12 10 18 4 28h-8c-8-8-4-16 4-28z"],
    ["d", "M58 100h84M72 100l-8 18M128 100l8 18", 8],
    ["a", box(68, 110, 64, 46, 12)],
    ["b", box(68, 128, 64, 10)],
  ],
  bottle: [
    ["d", box(84, 38, 32, 16, 6)],
    ["a", "M82 54h36c0 16 12 16 12 34v58a12 12 0 0 1-12 12H82a12 12 0 0 1-12-12V88c0-18 12-18 12-34z"],
    ["b", box(70, 104, 60, 28)],
    ["e", "M82 84v12", 6],
  ],
  hammock: [
    ["d", "M34 50v106M166 50v106", 9],
    ["a", "M36 72c30 74 98 74 128 0-24 32-104 32-128 0z"],
    ["b", "M52 92c22 38 74 38 96 0-24 22-72 22-96 0z"],
  ],
  helmet: [
    ["d", "M56 122c10 34 40 34 52 20", 6],
    ["a", "M30 116c0-84 140-84 140 0z"],
    ["b", "M30 116h140c0 14-140 14-140 0z"],
    ["e", "M72 78c10-8 20-12 28-12M112 68c16 2 28 12 34 26M60 98c26-14 54-14 72-4", 7],
  ],
  pannier: [
    ["d", "M80 58c0-22 40-22 40 0", 8],
    ["b", box(46, 58, 108, 98, 14)],
    ["a", "M46 72a14 14 0 0 1 14-14h80a14 14 0 0 1 14 14v38c-20 14-88 14-108 0z"],
    ["c", "M76 104v30M124 104v30", 8],
  ],
  pump: [
    ["d", "M64 48h72", 13],
    ["b", "M100 50v38", 7],
    ["a", box(88, 84, 24, 66, 6)],
    ["c", "M112 138c46 8 42-62 24-66", 5],
    ["d", box(66, 148, 68, 10, 5)],
  ],
  multitool: [
    ["c", "M60 92l-14-50 12-4 20 50zM140 92l26-46-12-6-26 46z"],
    ["b", "M100 84V40h10v44z"],
    ["a", box(36, 88, 128, 44, 22)],
    ["e", "M100 100v20M90 110h20", 7],
  ],
  saddle: [
    ["d", "M74 116l14 34M128 112l-16 38M84 150h32", 7],
    ["a", "M26 96c8-26 44-20 64-12 28 10 56-6 84-4 4 18-16 28-34 32-44 10-84 14-104 4-8-4-12-12-10-20z"],
    ["b", "M26 96c20 14 104 14 148-10 0 14-16 22-34 26-44 10-84 14-104 4-8-4-12-12-10-20z"],
  ],
  lock: [
    ["b", "M68 94c-24-60 88-60 64 0", 15],
    ["a", box(54, 92, 92, 64, 14)],
    ["d", `${oval(100, 118, 9)}M96 120h8v20h-8z`],
  ],
  headphones: [
    ["b", "M48 120C36 30 164 30 152 120", 12],
    ["a", box(36, 104, 34, 54, 15)],
    ["a", box(130, 104, 34, 54, 15)],
    ["d", "M64 108h10v46H64zM126 108h10v46h-10z"],
  ],
  earbuds: [
    ["a", oval(70, 78, 24)],
    ["b", box(60, 84, 20, 60, 10)],
    ["a", oval(134, 86, 24)],
    ["b", box(124, 92, 20, 60, 10)],
    ["d", `${oval(76, 74, 9)}${oval(140, 82, 9)}`],
  ],
  speakers: [
    ["a", box(40, 46, 54, 112, 8)],
    ["a", box(106, 46, 54, 112, 8)],
    ["d", `${oval(67, 124, 20)}${oval(133, 124, 20)}${oval(67, 76, 11)}${oval(133, 76, 11)}`],
    ["c", `${oval(67, 124, 8)}${oval(133, 124, 8)}`],
  ],
  turntable: [
    ["a", box(26, 56, 148, 100, 10)],
    ["d", oval(86, 106, 40)],
    ["c", oval(86, 106, 14)],
    ["e", oval(86, 106, 3)],
    ["e", "M152 70v44l-24 22", 6],
    ["b", oval(152, 72, 9)],
  ],
  soundbar: [
    ["a", box(18, 90, 164, 36, 14)],
    ["d", `${oval(46, 108, 11)}${oval(154, 108, 11)}`],
    ["b", "M70 100h60M70 108h60M70 116h60", 4],
    ["d", "M40 132h16M144 132h16", 6],
  ],
  microphone: [
    ["d", "M64 92c0 52 72 52 72 0M100 130v24M76 156h48", 7],
    ["a", box(78, 38, 44, 80, 22)],
    ["b", "M78 74h44v8H78zM78 60h44v4H78z"],
  ],
  amplifier: [
    ["a", box(26, 78, 148, 64, 10)],
    ["e", `${oval(64, 110, 20)}${oval(136, 110, 20)}`],
    ["d", "M64 110l10-12M136 110l-12-10M96 96v28M106 96v28", 5],
    ["d", box(40, 142, 20, 7)],
    ["d", box(140, 142, 20, 7)],
  ],
  radio: [
    ["d", "M124 70l26-34", 5],
    ["a", box(30, 68, 140, 86, 14)],
    ["d", oval(76, 111, 29)],
    ["b", oval(76, 111, 17)],
    ["e", box(118, 84, 40, 16, 4)],
    ["c", oval(138, 126, 12)],
  ],
  desklamp: [
    ["c", "M120 84l52 62H92z"],
    ["b", "M58 152V96l50-34", 8],
    ["a", "M96 46l46 22-36 34c-22-8-26-40-10-56z"],
    ["d", box(32, 150, 56, 10, 5)],
  ],
  notebook: [
    ["b", box(56, 44, 96, 116, 8)],
    ["a", box(50, 40, 96, 116, 8)],
    ["e", box(74, 62, 54, 26, 4)],
    ["d", "M134 40v116", 5],
    ["c", "M104 150h10v20l-5-6-5 6z"],
  ],
  pen: [
    ["a", "M64 156L134 54l22 15-70 102-28 14z"],
    ["b", "M110 90l22 15 24-36-22-15z"],
    ["e", "M64 156l22 15-28 14z"],
    ["d", "M58 185l14-22", 3],
  ],
  monitor: [
    ["d", box(40, 38, 120, 74, 6)],
    ["c", box(48, 46, 104, 58, 3)],
    ["b", "M92 112h16v14H92z"],
    ["a", "M32 126h136v14h-12v18h-14v-18H58v18H44v-18H32z"],
  ],
  tray: [
    ["c", "M52 106l18-54 8 3-14 51zM130 104l-6-60h9l8 60z"],
    ["e", "M92 104V42h8v62z"],
    ["a", box(28, 100, 144, 48, 10)],
    ["b", box(28, 116, 144, 8)],
  ],
  mat: [
    ["a", "M44 72h132l-20 78H24z"],
    ["b", "M24 150h132l4-14H28z"],
    ["e", "M84 88h56l-9 38H75z"],
    ["d", oval(150, 116, 8, 12)],
  ],
  sleeve: [
    ["b", box(52, 40, 96, 60, 8)],
    ["e", box(60, 46, 80, 40, 4)],
    ["a", box(42, 70, 116, 88, 12)],
    ["d", "M42 88h116", 4],
    ["c", box(128, 118, 20, 10, 3)],
  ],
  calendar: [
    ["e", box(44, 52, 112, 106, 8)],
    ["a", "M52 52h96a8 8 0 0 1 8 8v22H44V60a8 8 0 0 1 8-8z"],
    ["d", "M72 42v20M128 42v20", 7],
    ["b", "M62 100h14M93 100h14M124 100h14M62 120h14M124 120h14M62 140h14M93 140h14", 10],
    ["c", "M93 120h14", 12],
  ],
  keyboard: [
    ["a", box(20, 78, 160, 68, 10)],
    ["e", "M34 94h14M56 94h14M78 94h14M100 94h14M122 94h14M144 94h22M34 112h20M62 112h14M84 112h14M106 112h14M128 112h14", 11],
    ["c", "M150 112h16M66 130h68", 11],
  ],
  book: [
    ["e", box(58, 40, 92, 118, 4)],
    ["a", "M50 48a10 10 0 0 1 10-10h82a4 4 0 0 1 4 4v106H60a10 10 0 0 0-10 10z"],
    ["b", "M50 158a10 10 0 0 1 10-10V38a10 10 0 0 0-10 10z"],
    ["e", "M80 66h46M80 80h32", 5],
    ["c", oval(104, 116, 17)],
  ],
  can: [
    ["b", "M62 120C40 112 44 84 22 72", 11],
    ["d", "M124 80c46-18 54 52 12 60", 8],
    ["a", "M66 82h64l12 66a8 8 0 0 1-8 8H62a8 8 0 0 1-8-8z"],
    ["b", "M66 82h64l2 12H64z"],
    ["c", "M30 60l-14 20", 9],
  ],
  planter: [
    ["c", "M100 100c-6-30-34-36-44-34 4 22 20 34 44 34zM100 96c2-36 26-50 42-50 0 30-16 46-42 50z"],
    ["d", "M100 112V74", 5],
    ["a", "M50 104h100l-12 46a8 8 0 0 1-8 6H70a8 8 0 0 1-8-6z"],
    ["b", box(44, 98, 112, 16, 5)],
  ],
  shears: [
    ["c", "M92 96l-4-56c18 12 22 34 18 56zM110 96l22-48c8 22-2 40-12 50z"],
    ["a", "M96 96L70 158M108 96l30 60", 13],
    ["d", oval(104, 96, 9)],
  ],
  seeds: [
    ["a", box(56, 40, 88, 118, 6)],
    ["b", "M56 40h88v16H56z"],
    ["e", box(66, 66, 68, 80, 4)],
    ["c", oval(100, 116, 22)],
    ["d", "M100 96c-4-10-14-10-16-8M100 96c4-12 14-12 16-10", 4],
  ],
  trowel: [
    ["a", box(90, 34, 20, 54, 9)],
    ["d", "M100 86v18", 8],
    ["c", "M76 100h48c2 34-8 52-24 62-16-10-26-28-24-62z"],
    ["b", "M100 104v44", 4],
  ],
  feeder: [
    ["d", "M100 34v16", 4],
    ["b", "M100 44l58 44H42z"],
    ["a", box(58, 88, 84, 54)],
    ["d", oval(100, 112, 15)],
    ["c", box(46, 142, 108, 12, 5)],
  ],
  blanket: [
    ["b", box(38, 112, 124, 38, 12)],
    ["a", box(38, 84, 124, 36, 12)],
    ["c", box(38, 58, 124, 34, 12)],
    ["e", "M58 84v-18M82 88v-24M106 88v-24M130 88v-24", 4],
  ],
  cushion: [
    ["a", "M46 50c34 12 74 12 108 0-10 34-10 74 0 106-34-10-74-10-108 0 10-32 10-72 0-106z"],
    ["b", "M66 70c20 6 48 6 68 0-6 22-6 44 0 66-20-6-48-6-68 0 6-22 6-44 0-66z"],
    ["c", oval(100, 103, 9)],
  ],
  runner: [
    ["d", "M34 90h132v10H34zM46 100h10v58H46zM144 100h10v58h-10z"],
    ["a", "M78 84h44v60H78z"],
    ["c", "M78 126h44M78 136h44", 4],
    ["b", "M78 84h44v16H78z"],
  ],
  candle: [
    ["c", "M100 36c14 18 14 30 0 34-14-4-14-16 0-34z"],
    ["d", "M100 68v16", 4],
    ["a", box(64, 82, 72, 76, 8)],
    ["e", box(76, 106, 48, 30, 3)],
    ["b", "M64 90a8 8 0 0 1 8-8h56a8 8 0 0 1 8 8v4H64z"],
  ],
  basket: [
    ["e", "M58 82c6-26 30-30 42-16 16-16 38-8 42 16z"],
    ["a", "M46 82h108l-12 68a10 10 0 0 1-10 8H68a10 10 0 0 1-10-8z"],
    ["b", "M52 104h96M56 124h88M60 144h80M80 84l6 72M120 84l-6 72", 4],
    ["b", box(40, 76, 120, 12, 6)],
  ],
  bed: [
    ["d", "M28 58v100M172 100v58M28 140h144", 8],
    ["e", box(40, 84, 44, 26, 10)],
    ["a", "M62 102h92a18 18 0 0 1 18 18v20H32v-8c0-18 10-30 30-30z"],
    ["b", "M92 102h22v38H92z"],
  ],
  floorlamp: [
    ["b", "M100 84v72", 6],
    ["a", "M78 40h44l22 50H56z"],
    ["c", "M56 90h88l-4 8H60z"],
    ["d", box(70, 152, 60, 9, 4)],
  ],
  mirror: [
    ["a", oval(100, 98, 50, 62)],
    ["e", oval(100, 98, 40, 52)],
    ["c", "M78 112l30-46M96 124l24-36", 6],
  ],
  tripod: [
    ["d", "M100 86L64 160M100 86l36 74M100 86v74", 7],
    ["b", box(86, 70, 28, 22, 5)],
    ["a", box(72, 40, 56, 34, 6)],
    ["e", oval(100, 57, 10)],
  ],
  strap: [
    ["a", "M60 150C10 30 190 30 140 150", 13],
    ["d", "M60 150l-4-20M140 150l4-20", 15],
    ["c", "M84 62c10-4 22-4 32 0", 13],
  ],
  camera: [
    ["b", "M74 70l10-18h32l10 18z"],
    ["a", box(30, 66, 140, 86, 14)],
    ["b", box(30, 88, 140, 40)],
    ["d", oval(100, 109, 33)],
    ["c", oval(100, 109, 20)],
    ["e", oval(93, 102, 6)],
    ["e", box(142, 74, 16, 9, 3)],
  ],
  lens: [
    ["a", box(42, 58, 116, 84, 12)],
    ["b", "M70 58h22v84H70zM110 58h10v84h-10z"],
    ["d", oval(150, 100, 18, 42)],
    ["c", oval(152, 100, 10, 28)],
  ],
  album: [
    ["b", box(40, 56, 124, 96, 6)],
    ["a", box(34, 50, 124, 96, 6)],
    ["e", box(66, 70, 72, 54, 3)],
    ["c", "M66 124l24-30 18 20 12-12 18 22z"],
    ["d", "M50 50v96", 5],
  ],
  filter: [
    ["b", oval(78, 92, 40), 9],
    ["c", oval(78, 92, 36)],
    ["a", oval(122, 116, 40), 9],
    ["e", "M104 102a24 24 0 0 1 20-12", 5],
  ],
  frame: [
    ["a", box(44, 42, 112, 116, 4)],
    ["e", box(56, 54, 88, 92)],
    ["c", "M68 134l24-40 18 24 12-14 16 30z"],
    ["b", oval(118, 80, 9)],
  ],
  board_game: [
    ["b", "M26 128l74-34 74 34-74 34z"],
    ["a", "M26 118l74-34 74 34-74 34z"],
    ["e", "M100 84v68M63 101l74 34M137 101l-74 34", 3],
    ["c", `${oval(84, 66, 11)}M70 110l14-42 14 42z`],
    ["d", `${oval(126, 82, 9)}M114 122l12-36 12 36z`],
  ],
  puzzle: [
    ["a", "M42 62h40c-8-24 36-24 28 0h44v40c24-8 24 36 0 28v28h-44c8-24-36-24-28 0H42v-34c24 8 24-36 0-28z"],
    ["b", "M42 144h30v14H42zM118 144h36v14h-36z"],
  ],
  chess: [
    ["a", oval(100, 62, 21)],
    ["b", box(76, 80, 48, 9, 4)],
    ["a", "M88 89h24l16 54H72z"],
    ["b", box(62, 142, 76, 16, 6)],
  ],
  cards: [
    ["b", "M44 66l58-22 34 88-58 22z"],
    ["a", "M66 52l62-4 8 96-62 4z"],
    ["e", "M92 46l58 18-30 90-58-18z"],
    ["c", "M106 86c-14-14-26 6-6 26 24-10 24-32 6-26z"],
  ],
  letters: [
    ["b", box(38, 96, 56, 56, 8)],
    ["a", box(106, 96, 56, 56, 8)],
    ["c", box(72, 38, 56, 56, 8)],
    ["e", "M56 138l10-28 10 28M60 130h12M122 110v28h10c14 0 14-28 0-28zM112 56c-20-12-30 24-4 24", 5],
  ],
  mystery: [
    ["a", box(46, 84, 108, 72, 6)],
    ["b", box(38, 66, 124, 24, 5)],
    ["c", "M92 66h16v90H92z"],
    ["d", "M100 64c-40-34-40-2 0 0 40-2 40-34 0 0z", 6],
  ],
  dice: [
    ["b", "M104 74l42-18 36 36-20 44-44 8z"],
    ["a", box(34, 72, 84, 84, 14)],
    ["e", `${oval(54, 92, 7)}${oval(98, 92, 7)}${oval(76, 114, 7)}${oval(54, 136, 7)}${oval(98, 136, 7)}`],
    ["e", oval(146, 98, 7)],
  ],
  marbles: [
    ["b", "M34 62c50 0 30 36 66 36s20 40 66 40", 13],
    ["a", "M34 82v76M166 142v16M100 108v50", 7],
    ["c", oval(54, 46, 14)],
    ["d", oval(112, 80, 11)],
    ["e", oval(50, 42, 4)],
  ],
  shoe: [
    ["e", "M26 138h150v10a8 8 0 0 1-8 8H34a8 8 0 0 1-8-8z"],
    ["a", "M28 138V92c10 6 24 2 28-16l22-6 40 38c26 6 54 6 56 30z"],
    ["b", "M28 138v-22c44 20 90 16 146 22z"],
    ["c", "M84 92l14-10M98 104l12-11M112 114l11-10", 6],
  ],
  socks: [
    ["b", "M112 44h38v62l-6 36c-6 22-46 26-52 10-4-14 20-22 20-46z"],
    ["a", "M62 44h38v66l-4 30c-6 24-52 28-58 10-4-14 24-22 24-46z"],
    ["c", "M62 44h38v14H62zM112 44h38v14h-38z"],
  ],
  belt: [
    ["a", "M24 88c50 26 102 26 152 0v22c-50 26-102 26-152 0z"],
    ["c", box(58, 88, 26, 54, 8)],
    ["b", box(118, 88, 26, 54, 8)],
    ["d", `${box(64, 76, 14, 12, 3)}${box(124, 76, 14, 12, 3)}`],
    ["e", box(92, 108, 18, 16, 3)],
  ],
  shorts: [
    ["a", "M50 62h100l16 88h-52l-14-48-14 48H34z"],
    ["b", "M50 62h100l3 16H47z"],
    ["c", "M146 84l12 62", 6],
  ],
  cap: [
    ["a", "M44 116c0-74 104-74 104 0z"],
    ["b", "M40 112h108c22 2 40 12 40 24-40-14-100-14-148-8z"],
    ["d", oval(96, 60, 6)],
    ["c", "M78 98h36", 9],
  ],
  cylinder: [
    ["a", "M58 66h92v76H58z"],
    ["b", oval(150, 104, 20, 38)],
    ["a", oval(58, 104, 20, 38)],
    ["d", oval(58, 104, 9, 18)],
    ["e", "M86 74v60M106 74v60M126 74v60", 5],
  ],
  film: [
    ["d", box(38, 44, 124, 114, 8)],
    ["e", "M50 56v96M150 56v96", 9],
    ["d", "M46 72h8M46 92h8M46 112h8M46 132h8M146 72h8M146 92h8M146 112h8M146 132h8", 8],
    ["a", box(66, 56, 68, 90, 4)],
    ["c", "M90 82l28 19-28 19z"],
  ],
  guitar: [
    ["d", "M112 92l48-52", 9],
    ["b", box(150, 28, 22, 20, 5)],
    ["a", "M108 78c22 4 22 26 10 34-2 36-42 58-66 36-22-24 0-62 34-62 6-8 14-10 22-8z"],
    ["d", oval(88, 112, 13)],
    ["e", "M58 132l14 14", 6],
  ],
};

/** What stands for any film: a catalogue of them needs more variety than one picture has. */
export const FILM = SHAPES.film;

/** The first expression that a title fits decides; the more special come first. */
/** @type {[RegExp, string][]} */
const WORDS = [
  [/kitchen radio|radio/, "radio"],
  [/amplifier|\bamp\b|receiver/, "amplifier"],
  [/skillet|frying|\bpan\b/, "skillet"],
  [/dutch oven|saucepan|\bpot\b|cooker/, "pot"],
  [/knife|blade/, "knife"],
  [/mill\b/, "mill"],
  [/bowl/, "bowls"],
  [/servers|spoon|fork|utensil/, "servers"],
  [/cutting board/, "board"],
  [/gratin|dish/, "dish"],
  [/dripper/, "dripper"],
  [/kettle/, "kettle"],
  [/grinder/, "grinder"],
  [/espresso|\bcup\b|\bmug\b/, "cup"],
  [/teapot/, "teapot"],
  [/french press/, "press"],
  [/frother/, "frother"],
  [/scale/, "scale"],
  [/tent\b/, "tent"],
  [/sleeping|yoga/, "roll"],
  [/backpack|rucksack/, "backpack"],
  [/torch|front light|flashlight/, "torch"],
  [/shell|windbreaker|jacket|half-zip|\btop\b|shirt/, "jacket"],
  [/poles/, "poles"],
  [/stove/, "stove"],
  [/hammock/, "hammock"],
  [/helmet/, "helmet"],
  [/pannier|camera bag|\bbag\b|\bcase\b/, "pannier"],
  [/pump/, "pump"],
  [/multi-tool/, "multitool"],
  [/saddle/, "saddle"],
  [/\block\b|padlock/, "lock"],
  [/headphones/, "headphones"],
  [/earbuds/, "earbuds"],
  [/speaker/, "speakers"],
  [/turntable|record player/, "turntable"],
  [/soundbar/, "soundbar"],
  [/microphone|\bmic\b/, "microphone"],
  [/desk lamp/, "desklamp"],
  [/floor lamp|\blamp\b/, "floorlamp"],
  [/notebook|journal/, "notebook"],
  [/\bpen\b(?! tray)|pencil/, "pen"],
  [/monitor/, "monitor"],
  [/tray/, "tray"],
  [/desk mat/, "mat"],
  [/sleeve/, "sleeve"],
  [/calendar/, "calendar"],
  [/keyboard|piano/, "keyboard"],
  [/watering can/, "can"],
  [/planter|raised bed|herb|plant\b/, "planter"],
  [/shears|scissors/, "shears"],
  [/seeds/, "seeds"],
  [/trowel/, "trowel"],
  [/feeder/, "feeder"],
  [/blanket|towel/, "blanket"],
  [/cushion|pillow/, "cushion"],
  [/table runner/, "runner"],
  [/candle/, "candle"],
  [/basket/, "basket"],
  [/duvet|mattress/, "bed"],
  [/mirror/, "mirror"],
  [/tripod|stand\b/, "tripod"],
  [/strap|cable/, "strap"],
  [/camera/, "camera"],
  [/lens/, "lens"],
  [/album/, "album"],
  [/nd filter/, "filter"],
  [/water filter|bottle|flask/, "bottle"],
  [/frame/, "frame"],
  [/strategy game|board game/, "board_game"],
  [/puzzle/, "puzzle"],
  [/chess/, "chess"],
  [/card game/, "cards"],
  [/word game/, "letters"],
  [/mystery box|gift/, "mystery"],
  [/dice/, "dice"],
  [/marble/, "marbles"],
  [/shoes|boots|sneaker/, "shoe"],
  [/socks/, "socks"],
  [/belt/, "belt"],
  [/shorts|trousers/, "shorts"],
  [/\bcap\b|\bhat\b/, "cap"],
  [/roller/, "cylinder"],
  [/guitar|ukulele|strings\b|violin/, "guitar"],
];

/** @type {[RegExp, string][]} */
const CATEGORIES = [
  [/book/, "book"],
  [/drama|comedy|action|adventure|thriller|crime|mystery|horror|romance|fantasy|sci-fi/, "film"],
  [/animation|children|documentary|western|\bwar\b|musical\b|imax|film|movie/, "film"],
  [/music|instrument|guitar/, "guitar"],
];

/**
 * Returns the silhouette of what a title names, or null where none fits.
 *
 * @param {string} title
 * @param {string} category
 * @returns {Part[] | null}
 */
export function findShape(title, category) {
  const kind = category.toLowerCase();
  const words = title.toLowerCase();
  const found =
    CATEGORIES.find(([expression]) => expression.test(kind)) ??
    WORDS.find(([expression]) => expression.test(words));
  return found === undefined ? null : SHAPES[found[1]];
}
